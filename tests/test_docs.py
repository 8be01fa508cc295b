"""The documentation says what is so: commands, configs, messages, links, papers' rows.

CONTRIBUTING.md says how a block of commands is marked, and what is done with it.
"""

import ast
import contextlib
import dataclasses
import functools
import importlib
import inspect
import os
import pathlib
import re
import shlex
import shutil
from collections.abc import Callable

import gin
import pytest
import yaml
from absl import flags
from apache_beam.options import pipeline_options
from conftest import run_module

import tf_dvdgan
from tf_dvdgan import cli, config

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "WORKSPACE.md")),
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
OURS = ("tf_dvdgan.", "tools.", "data_prep.")
SHELL = ("bash", "sh", "console")
COMMANDS = {"python", "python3", "make", "pip", "git", "docker", "gcloud", "grep"}
COMMANDS |= {"tensorboard", "export", "until", "curl", ".", "tf_dvdgan"}
MARK = re.compile(r"<!-- (run|not run|tested by): (.+) -->")
# What makes a documented command small; later flags and bindings win over earlier ones.
TINY = ("RESOLUTION = 16", "NUM_FRAMES = 4", "STRIDE = 1", "CH = 2", "BATCH_SIZE = 4")
TINY += ("NUM_STEPS = 2", "dvd_gan.SpatialDiscriminator.num_frames = 2")
SMALL = {
    "tools.make_demo_videos": ["--num_videos=36", "--size=24,32"],
    "data_prep.prepare": ["--resolution=16", "--num_shards=2"],
    "tf_dvdgan.run": [f"--gin_param={binding}" for binding in TINY],
    "tools.sample": ["--num_videos=2"],
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of commands, and the mark in the line before it."""

    page: pathlib.Path
    line: int
    text: str
    mark: re.Match | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Command:
    """A module of ours with its arguments; `abbreviated` if '...' stands for some."""

    module: str
    arguments: tuple[str, ...]
    abbreviated: bool


def blocks_of(page: pathlib.Path) -> list[Block]:
    found, fence, before = [], None, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.lstrip().startswith("```"):
            if fence is None:
                before = line.strip() or before
            else:
                fence[2].append(line)
        elif fence is None:
            fence = (number, line.strip("` "), [], MARK.fullmatch(before))
        else:
            start, language, lines, mark = fence
            words = " ".join(lines).split() or [""]
            is_shell = not language and words[0].split("_prepare")[0] in COMMANDS
            text = "\n".join(lines)
            if language in SHELL:
                found.append(Block(page, start, text, mark))
            elif is_shell:  # what comes behind an empty line is what it prints
                found.append(Block(page, start, text.partition("\n\n")[0], mark))
            fence, before = None, ""
    assert fence is None, f"{page} ends within a block"
    return found


def words_of(text: str) -> list[list[str]]:
    """The commands of a shell's text, each as its words."""
    text = re.sub(r"(^|\s)#.*$", r"\1", text.replace("\\\n", " "), flags=re.M)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|\n")
    lexer.commenters, lexer.whitespace, lexer.whitespace_split = "", " \t", True
    found = [[]]
    for word in lexer:
        if set(word) <= set(";&|\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


@functools.cache
def console_scripts() -> dict[str, str]:
    text = (ROOT / "setup.py").read_text()
    scripts = re.findall(r'"(tf_dvdgan\w*)=tf_dvdgan\.([\w.]+):run"', text)
    return {
        name: module if module.startswith(OURS) else f"tf_dvdgan.{module}"
        for name, module in scripts
    }


def commands_of(text: str) -> list[Command]:
    """Every command of ours in a shell's text, in quotes too."""
    found = []
    for words in words_of(text):
        for word in words:
            if " -m " in word:
                found += commands_of(word)
        module = None
        if "-m" in words and words[words.index("-m") - 1].startswith("python"):
            module, *rest = words[words.index("-m") + 1 :]
        elif words[0] in console_scripts():
            module, *rest = console_scripts()[words[0]], *words[1:]
        if module and module.startswith(OURS):
            arguments = tuple(word for word in rest if not word.startswith("..."))
            abbreviated = len(arguments) < len(rest) or "--dataset=NAME" in rest
            found.append(Command(module, arguments, abbreviated))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
INLINE = [
    (page, text)
    for page in PAGES
    for text in re.findall(r"`(python -m [^`]+)`", page.read_text())
]
assert len(BLOCKS) > 30


@contextlib.contextmanager
def flags_of(module: str):
    """Defines a command's flags for as long as it is entered; gives their names."""
    before = set(flags.FLAGS)
    importlib.import_module(module).define_flags()
    names = set(flags.FLAGS) - before
    try:
        yield names
    finally:
        for name in names:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()


@functools.cache
def beam_flags() -> set[str]:
    parser = pipeline_options._BeamArgumentParser()
    for options in pipeline_options.PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    return {name.removeprefix("--") for name in parser._option_string_actions}


def flag_name(argument: str) -> str:
    return argument.partition("=")[0].removeprefix("--")


def check_flags(command: Command) -> None:
    """Parses a command's flags as the command does, so values are checked too."""
    allowed = beam_flags() if command.module == "data_prep.prepare" else set()
    with flags_of(command.module) as names:
        known = {*names, *(f"no{name}" for name in names), *allowed}
        for argument in command.arguments:
            assert not argument.startswith("--") or flag_name(argument) in known, (
                f"{command.module} has no flag {argument}"
            )
        if not command.abbreviated:
            flags.FLAGS(["command", *command.arguments], known_only=bool(allowed))


@functools.cache
def check_config(files: tuple[str, ...], parameters: tuple[str, ...]) -> None:
    config.load(files or ["demo.gin"], parameters)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_command_is_one_that_there_is(block):
    for command in commands_of(block.text):
        check_flags(command)
        values = {name: [] for name in ("gin_file", "gin_param")}
        for argument in command.arguments:
            values.get(flag_name(argument), []).append(argument.partition("=")[2])
        if any(values.values()):
            check_config(*map(tuple, values.values()))


@pytest.mark.parametrize(
    ("page", "text"), INLINE, ids=[f"{p.stem}-{i}" for i, (p, _) in enumerate(INLINE)]
)
def test_commands_in_prose_exist(page, text):
    for command in commands_of(text):
        check_flags(dataclasses.replace(command, abbreviated=True))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_of_commands_is_run_or_says_why_not(block):
    assert block.mark, f"{block} has no mark in the line before it; see CONTRIBUTING.md"
    kind, what = block.mark.groups()
    if kind != "tested by":
        return
    text = "".join((ROOT / name).read_text() for name in what.split(", "))
    for command in commands_of(block.text):
        package, _, name = command.module.rpartition(".")
        imported = re.search(rf"from {package} import .*\b{name}\b", text)
        assert command.module in text or imported, f"{what} has no {command.module}"


GROUPS: dict[str, list[Block]] = {}
for _block in BLOCKS:
    if _block.mark and _block.mark[1] == "run":
        GROUPS.setdefault(f"{_block.page.stem}-{_block.mark[2]}", []).append(_block)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_commands_run(group, demo_videos, demo_shards, tmp_path):
    given = {"VIDEOS": demo_videos, "SHARDS": demo_shards}
    needed = re.findall(r"given (.+)$", group)
    for name in needed[0].split(", ") if needed else ():
        lists = shutil.ignore_patterns("ucfTrainTestlist")
        shutil.copytree(given[name], tmp_path / name, ignore=lists)
    for block in GROUPS[group]:
        commands = commands_of(block.text)
        assert len(commands) == len(words_of(block.text)), f"{block} has others too"
        for command in commands:
            small = SMALL.get(command.module, [])
            done = run_module(
                *(command.module, *command.arguments, *small),
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, f"{block}: {done.stderr}"
            for argument in command.arguments:
                if flag_name(argument) in ("output", "model_dir"):
                    path = tmp_path / argument.partition("=")[2]
                    assert path.is_file() or any(path.iterdir()), argument


def prose_of(page: pathlib.Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def anchors_of(page: pathlib.Path) -> set[str]:
    """The names that headings of a page have in links, as on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links {link}"
        assert not anchor or anchor in anchors_of(target), f"{page.name} links {link}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text().splitlines()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem in index or page.stem == "index", page


def rows_of_papers() -> list[pathlib.Path]:
    return sorted((ROOT / "gin" / "papers").rglob("*.gin"))


@pytest.mark.parametrize("path", rows_of_papers(), ids=lambda path: path.stem)
def test_each_experiment_is_listed_as_its_file_has_it(path):
    file = path.relative_to(ROOT / "gin")
    text = (ROOT / "docs" / "experiments.md").read_text()
    text = text.partition("## Every row of every table")[0]
    rows = [line for line in text.splitlines() if f"`{file}`" in line and "|" in line]
    assert len(rows) == 1, file
    cells = [cell.strip() for cell in rows[0].strip("| ").split(" | ")]
    assert cells == [f"`{file}`", *experiment(path)]


def experiment(path: pathlib.Path) -> tuple[str, str, str]:
    """What a row of a paper is, its videos and what to expect, from its Gin file."""
    head = [line[2:] for line in path.read_text().splitlines() if line[:1] == "#"]
    what, _, rest = " ".join(head).partition(" Expected: ")
    expected = re.split(r"\. (?=[A-Z])", rest)[0]
    config.load([str(path.relative_to(ROOT / "gin"))])
    frames, pixels, stride = (
        gin.query_parameter(f"%{name}")
        for name in ("NUM_FRAMES", "RESOLUTION", "STRIDE")
    )
    return what.rstrip("."), f"{frames}x{pixels}, stride {stride}", expected


@functools.cache
def literals() -> list[str]:
    """All strings of the project's code, with '…' for what is put into them."""
    found = []
    for folder in ("tf_dvdgan", "data_prep", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", "…") for part in node.values)
                    texts = (t if isinstance(t, str) else "…" for t in parts)
                    found.append("".join(texts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def messages() -> list[str]:
    """What troubleshooting.md quotes, a message a paragraph."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    quotes = re.findall(r"(?:^> .*\n)+", text, re.M)
    return [re.sub(r"\s*^> ", " ", quote, flags=re.M).strip() for quote in quotes]


@functools.cache
def printed() -> list[str]:
    """The code's texts as some commands print them."""
    found = []
    for command in ("tf_dvdgan.run", "data_prep.prepare", "tools.score"):
        with flags_of(command):
            found += [cli.with_flags(text) for text in literals()]
    return found


@pytest.mark.parametrize("message", messages())
def test_the_messages_that_are_explained_are_those_of_the_code(message):
    pieces = [piece for piece in message.strip("`").split("…") if piece.strip()]
    assert any(all(piece in text for piece in pieces) for text in printed())


def functions_of_commands() -> list[tuple[str, str]]:
    """python.md's table: commands, and the functions that they call."""
    text = (ROOT / "docs" / "python.md").read_text()
    return re.findall(
        r"^\| `((?:tools|tf_dvdgan|data_prep)\..+)` \| (.+) \|$", text, re.M
    )


def function(name: str) -> Callable:
    owner, _, last = name.rpartition(".")
    if owner == "VideoGAN":
        return getattr(tf_dvdgan.VideoGAN, last)
    module = importlib.import_module(f"tf_dvdgan.{owner}".rstrip("."))
    return getattr(module, last)


def functions_of_modules() -> dict[str, set[str]]:
    """python.md's table by module: the functions of all modes of a command."""
    found: dict[str, set[str]] = {}
    for command, functions in functions_of_commands():
        names = re.findall(r"`(?:dvd\.|tf_dvdgan\.)?([\w.]+)`", functions)
        found.setdefault(command.split(" ")[0], set()).update(names)
    return found


# What a command may call besides its function: reading flags, reporting and printing,
MODULES_OF_COMMANDS = ("tf_dvdgan.cli", "tf_dvdgan.errors", "tf_dvdgan.terminal")
# opening what it passes on,
OPENING = {
    *("tf_dvdgan.generators.open_generator", "tf_dvdgan.video_gan.load"),
    "tf_dvdgan.training.strategy.create",
}
OTHER_CALLS = OPENING | {
    "tf_dvdgan.training.strategy.is_chief",  # of several workers one prints
    "data_prep.local_runner.remove_temporary_files",  # when a signal ends it
}


def package_calls(source: str, package: str) -> list[str]:
    """Calls of a module into the project, as dotted names, in no order.

    A method of what a call returned is named like "tf_dvdgan.plan.propose().command".
    """
    tree, known = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = f"{package}." * node.level + (node.module or "")
            for alias in node.names:
                name = f"{base.rstrip('.')}.{alias.name}"
                known[alias.asname or alias.name] = name
        elif isinstance(node, ast.Import):
            known |= {a.asname: a.name for a in node.names if a.asname}
            known |= {n: n for n in (a.name.split(".")[0] for a in node.names)}

    def name_of(node: ast.expr) -> str:
        if isinstance(node, ast.Call):
            return f"{name_of(node.func)}()"
        if isinstance(node, ast.Attribute):
            return f"{name_of(node.value)}.{node.attr}"
        return known.get(node.id, "") if isinstance(node, ast.Name) else ""

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            result = name_of(node.value)
            known |= {t.id: result for t in node.targets if isinstance(t, ast.Name)}
    calls = [
        name_of(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)
    ]
    return [name for name in calls if name.startswith(OURS)]


def named(name: str) -> Callable:
    """The function or class with a dotted name."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def identity(code: Callable) -> tuple[str, str]:
    """Module and name: a checkout imports data_prep by two names."""
    return code.__module__.removeprefix("tf_dvdgan."), code.__qualname__


def is_allowed(name: str, own: set[tuple[str, str]]) -> bool:
    """Whether a command may make a call besides the one of its function."""
    called, _, method = name.partition("()")
    if method:  # of what it has opened, or of its function's result
        return called not in OPENING and identity(named(called)) in own
    if name in OTHER_CALLS or name.startswith(MODULES_OF_COMMANDS):
        return True
    return dataclasses.is_dataclass(named(name))  # arguments


def test_calls_into_the_package_are_recognized():
    source = """
from tf_dvdgan import generators, plan as planning, visualize
from tf_dvdgan.data import files
from . import job
proposal = planning.propose(visualize.Style("out"))
print(proposal.command("shards"))
job.prepare()
generators.open_generator("run").videos(files.absolute(path))
"""
    calls = package_calls(source, "data_prep")
    own = {identity(named("tf_dvdgan.plan.propose"))}
    allowed = {name: is_allowed(name, own) for name in calls}
    assert allowed == {
        "tf_dvdgan.plan.propose": False,  # a command's own call is not another one
        "tf_dvdgan.plan.propose().command": True,
        "tf_dvdgan.visualize.Style": True,
        "data_prep.job.prepare": False,
        "tf_dvdgan.generators.open_generator": True,
        "tf_dvdgan.generators.open_generator().videos": False,
        "tf_dvdgan.data.files.absolute": False,
    }


def test_python_md_names_the_functions_of_all_commands():
    tools = {f"tools.{path.stem}" for path in (ROOT / "tools").glob("*.py")}
    rest = {"tools.__init__", "tools.demo", "tools.tpu_preflight"}
    commands = tools - rest | {"data_prep.prepare", "tf_dvdgan.run"}
    assert set(functions_of_modules()) == commands


@pytest.mark.parametrize(("command", "functions"), functions_of_modules().items())
def test_a_command_is_flags_and_one_call_of_a_function_in_python_md(command, functions):
    source = (ROOT / f"{command.replace('.', '/')}.py").read_text()
    calls = package_calls(source, command.rpartition(".")[0])
    calls = [n.replace("tf_dvdgan.video_gan.load().", "VideoGAN.") for n in calls]
    methods = sorted(name for name in calls if name.startswith("VideoGAN."))
    plain_calls = [name for name in calls if not name.startswith("VideoGAN.")]
    assert methods == sorted(n for n in functions if n.startswith("VideoGAN."))
    own = {identity(function(name)) for name in functions - set(methods)}
    made = [identity(named(name)) for name in plain_calls if "()" not in name]
    assert all(made.count(f) == 1 for f in own), (own, plain_calls)
    others = [n for n in plain_calls if "()" in n or identity(named(n)) not in own]
    assert not [name for name in others if not is_allowed(name, own)]


def plain(default: object) -> object:
    """A default as both flags and functions may have it."""
    if isinstance(default, list | tuple):
        return [float(v) if re.fullmatch(r"[\d.]+", str(v)) else v for v in default]
    return None if default == "auto" else default  # of a strategy


@pytest.mark.parametrize(
    ("command", "functions"), functions_of_commands(), ids=lambda text: text[:30]
)
def test_flags_have_the_defaults_of_the_function(command, functions):
    with flags_of(command.split(" ")[0]) as names:
        of_flags = {name: plain(flags.FLAGS[name].default) for name in names}
    for name in re.findall(r"`(?:dvd\.|tf_dvdgan\.)?([\w.]+)`", functions):
        parameters = inspect.signature(function(name)).parameters
        defaults = {
            key: plain(parameter.default)
            for key, parameter in parameters.items()
            if key in of_flags and parameter.default is not inspect.Parameter.empty
        }
        assert defaults == {key: of_flags[key] for key in defaults}, name


def test_the_function_of_prepare_has_all_of_its_flags():
    parameters = inspect.signature(tf_dvdgan.prepare).parameters
    with flags_of("data_prep.prepare") as names:
        shared = names & set(parameters)
    assert len(shared) >= 15 and set(parameters) - shared == {
        *("input_dir", "output_dir", "follow_links", "beam_flags")
    }


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["title"] == "tf_dvdgan" and citation["message"]
    assert citation["version"] == tf_dvdgan.__version__
    assert citation["authors"] == [{"name": "The tf_dvdgan authors"}]
    assert citation["license"] == "Apache-2.0"
    urls = [reference.get("url", "") for reference in citation["references"]]
    assert "https://arxiv.org/abs/1907.06571" in urls


def test_the_license_is_the_whole_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "[Unreleased]"
