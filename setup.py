"""What pyproject.toml cannot say once: where the project lives, and a README whose links work where it does not lie."""

import re
from pathlib import Path

from setuptools import setup

# The project's address, the only one in the repository: a reserved name (RFC 2606) until there is a public one. Tests
# hold CITATION.cff to it, and scripts/release does not release under it.
HOME = "https://ddeep.example"
PAGES = f"{HOME}/blob/main/"
FILES = f"{HOME}/raw/main/"
SITE = f"{HOME}/docs/"


def elsewhere(text: str) -> str:
    """Markdown whose relative images and links are addresses."""
    text = re.sub(r"(!\[[^]]*\]\()(?![a-z]+:|#)", rf"\g<1>{FILES}", text)
    return re.sub(r"((?<!!)\[(?:[^][]|!\[[^]]*\]\([^)]*\))*\]\()(?![a-z]+:|#)", rf"\g<1>{PAGES}", text)


if __name__ == "__main__":
    setup(
        long_description=elsewhere(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
        project_urls={
            "Changelog": f"{PAGES}CHANGELOG.md",
            "Documentation": SITE,
            "Issues": f"{HOME}/issues",
            "Source": HOME,
        },
    )
