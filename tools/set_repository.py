"""Move the book to another address: `make set-repository URL=https://github.com/OWNER/NAME`.

The address stands in `_config.yml`; all other places are derived from it here, and tests/book/test_address.py holds
them together.
"""

import re
import sys
from pathlib import Path

from tools.build_book import one_sentence
from tools.house import ROOT, Repository, repository, source_files

HOSTS = ("github.com", "raw.githubusercontent.com", "colab.research.google.com/github", "cdn.jsdelivr.net/gh")
"""Where OWNER/NAME of a repository follows the host."""


def renamed(text: str, old: Repository, new: Repository) -> str:
    """`text` with every address of `old` replaced by that of `new`; addresses of other repositories stay."""
    end = r"(?![A-Za-z0-9_-]|\.(?!git\b)[A-Za-z0-9])"  # the name ends here: NAME-2 and NAME.io are others
    hosts = "|".join(map(re.escape, HOSTS))
    text = re.sub(rf"(?P<host>{hosts})/{re.escape(old.slug)}{end}", rf"\g<host>/{new.slug}", text)
    return re.sub(re.escape(old.pages) + end, new.pages, text, flags=re.IGNORECASE)


def set_repository(url: str, root: Path = ROOT) -> list[Path]:
    """Write the address into every file that holds the old one.

    Returns:
        the files that changed; none when the address is already this one.
    Raises:
        BuildError: when `url` is no address of a repository; nothing is changed then.
    """
    old = repository(root)
    new = Repository.parse(url, old.branch)
    changed = []
    for path in source_files(root):
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue  # a picture or data
        other = renamed(text, old, new)
        if other != text:
            path.write_bytes(other.encode("utf-8"))
            changed.append(path)
    return changed


def main() -> None:
    with one_sentence():
        changed = set_repository(sys.argv[1] if len(sys.argv) > 1 else "")
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"The address is {repository().url}; {len(changed)} files changed.")


if __name__ == "__main__":
    main()
