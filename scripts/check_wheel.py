"""Check that a wheel installs exactly the two packages it should: `check_wheel.py WHEEL`."""

import sys
import zipfile
from pathlib import Path

EXPECTED = {"rlteach", "rlteach_envs"}


def main() -> int:
    wheel = Path(sys.argv[1])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    installed = {name.split("/")[0] for name in names} - {n.split("/")[0] for n in names if ".dist-info/" in n}
    if installed != EXPECTED:
        print(f"{wheel.name} installs {sorted(installed)}, not {sorted(EXPECTED)}", file=sys.stderr)
        return 1
    if "rlteach/py.typed" not in names:
        print(f"{wheel.name} has no rlteach/py.typed", file=sys.stderr)
        return 1
    print(f"{wheel.name} installs {', '.join(sorted(installed))}: {len(names)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
