"""A config from the command line: a name or a YAML file, then what is changed."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from .settings import C, ConfigError, grouped, merged, named

BASE = "base"
SUFFIXES = (".yaml", ".yml", ".json")


def read_config(source: str | Path, changed: dict[str, Any], configs: Mapping[str, C]) -> C:
    """The config that `source` names, with other values for some settings.

    Args:
        source: A name in `configs`, or a YAML file of settings (the `config.json` of a run is one),
            with the name of a config that they change as `base`, by default "paper":

                base: ewt
                method: spigot
                eta: 0.5
                data_options: {max_words: 30}   # or: data.max_words: 30
        changed: Settings that override those; groups of options are merged.
        configs: Those of the pipeline, by name.

    Raises:
        ConfigError: If there is no such config, or a setting is wrong.
    """
    source = str(source)
    if not source.endswith(SUFFIXES):
        if source not in configs:
            raise ConfigError(f"{_unknown(source, configs)}, or a file ({', '.join(SUFFIXES)}).")
        return named(configs, source, changed)
    name, settings = read_yaml(Path(source), configs)
    try:
        return named(configs, name, merged(settings, changed))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def read_yaml(path: Path, configs: Mapping[str, C]) -> tuple[str, dict[str, Any]]:
    """The name of the base and the settings of a file."""
    import yaml

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _loader())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}.") from None
    values = {} if values is None else values
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: wanted lines of `setting: value`. Got {values!r:.60}.")
    base = str(values.pop(BASE, "paper"))
    if base not in configs:
        raise ConfigError(f"{path}: `{BASE}`: {_unknown(base, configs)}.")
    return base, grouped(values, type(configs[base]))


def _unknown(name: str, configs: Mapping[str, Any]) -> str:
    near = get_close_matches(name, configs, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no config {name!r}.{hint} Choose one of {', '.join(configs)}"


@cache
def _loader() -> Any:
    """A loader of plain values that reads `1e-3` as a number and refuses a key given twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for number, key in enumerate(keys):
                if key in keys[:number]:
                    mark = node.value[number][0].start_mark
                    raise yaml.MarkedYAMLError(problem=f"{key!r} again", problem_mark=mark)
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Loader
