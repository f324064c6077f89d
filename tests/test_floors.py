"""A module imports from its own floor or lower ones, never in a circle; methods do not know each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "tutelage"
FLOORS = {
    "allocator": 0, "fingerprints": 0,
    "errors": 0, "randomness": 0, "lesson": 0, "losses": 0, "curricula": 0, "example_dropout": 0, "functional": 0,
    "importing": 0, "memory": 0, "ranks": 0, "divergences": 0, "assistants": 0, "soft_targets": 0, "feature_losses": 0,
    "rules": 1, "decay": 1, "schedules": 1, "student": 1, "data": 1, "nets": 1, "masks": 1, "semi_supervised": 1,
    "multi_view": 1,
    "stacked": 2, "teacher": 2, "optimiser": 2, "pacing": 2, "mentors": 2, "hypergradient": 2, "evaluation": 2,
    "look_ahead": 2, "interactions": 2, "credit": 2, "taught_net": 2, "frozen": 2, "logit_cache": 2,
    "mcboost": 0, "codewords": 1, "pools": 2, "selecting": 2, "hypotheses": 2, "hypothesis_space": 2,
    "version_space": 2, "linear_sgd": 2, "teaching_dimension": 2, "stale_scores": 2, "explanations": 2,
    "starts": 2, "distilled": 2, "real_sets": 2, "siamese": 2, "experts": 2,
    "teachers": 3, "teacher_files": 3,
    "sequences": 4, "explain_teach": 4, "human_answers": 4, "human_groups": 4, "teaching_sets": 4,
    "teaching_set_formats": 4, "training": 4, "peers": 4, "checkpoint": 4, "episodes": 4, "runs": 4, "testing": 4,
    "statistics": 4, "gap": 4, "export": 4,
    "learners": 4, "participants": 4,
    "recipes": 5, "report": 5, "classroom": 5,
    "display": 6, "cli_mentor": 6, "cli_distilled": 6, "cli_answers": 6, "cli_make": 6, "cli_files": 6,
    "cli_classroom": 6, "cli_classroom_people": 6, "cli": 6, "__main__": 7,
}  # fmt: skip
STRANGERS = {(a, b) for a in ("recipes", "report", "classroom") for b in ("recipes", "report", "classroom") if a != b}


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path):
    """Modules of the package that a file imports, as dotted names below it, with the names taken from each."""
    package = path.relative_to(SOURCE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(package[: len(package) - node.level])
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield ".".join([*base, *module]) or alias.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert not any(n and n.split(".")[0] == "tutelage" for n in names), f"{path}: use relative imports"


FILES = sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_from_its_own_floor_or_below(path):
    mine = room(path)
    assert mine in FLOORS, f"{mine} has no floor yet"
    for name in imports(path):
        other = name.split(".")[0]
        if other in ("__version__", mine):
            continue
        assert FLOORS[other] <= FLOORS[mine], f"{path.name} (floor {FLOORS[mine]}) imports {name} ({FLOORS[other]})"
        assert (mine, other) not in STRANGERS, f"{mine} must not know {other}"


def test_rooms_do_not_import_each_other_in_a_circle():
    needs = {}
    for path in FILES:
        needs.setdefault(room(path), set()).update(
            n.split(".")[0] for n in imports(path) if n.split(".")[0] not in ("__version__", room(path))
        )
    done = set()
    while len(done) < len(needs):
        ready = {m for m in needs if m not in done and needs[m] <= done}
        assert ready, f"circle among {set(needs) - done}"
        done |= ready


@pytest.mark.parametrize("path", sorted((SOURCE / "teachers").glob("*/*.py")), ids=lambda p: p.name)
def test_a_method_knows_no_other_method(path):
    for name in imports(path):
        assert not name.startswith("teachers."), f"{path.name} imports {name}"


def test_importing_the_package_is_cheap():
    code = (
        "import sys, tutelage; "
        "heavy = {'matplotlib', 'sklearn', 'scipy', 'pyarrow', 'PIL', 'grain', 'rich', 'cyclopts', 'datasets'}; "
        "print(sorted(heavy & {m.split('.')[0] for m in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
