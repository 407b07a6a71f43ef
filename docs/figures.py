"""Draws the pictures of pages that do not run: `python docs/figures.py`. A test compares them."""

from pathlib import Path

from matplotlib.figure import Figure

from optlayers import plotting

FOLDER = Path(__file__).parent / "assets"


def figures() -> dict[str, Figure]:
    """Every picture, by the stem of its file in `assets/`."""
    return {"figure-1": plotting.draw_figure_1()}


def draw(folder: Path = FOLDER) -> list[Path]:
    """Writes them as SVG, and returns where."""
    paths = []
    for stem, figure in figures().items():
        svg, png = plotting.save(figure, folder / stem)
        png.unlink()
        paths.append(svg)
    return paths


if __name__ == "__main__":
    for path in draw():
        print(path)
