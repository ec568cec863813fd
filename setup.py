"""The list of packages: the folder `lib` is installed as `modeledit`, including its contents.

Everything else is in pyproject.toml, where this would require listing all subpackages.
"""

from setuptools import find_packages, setup

setup(
    packages=["modeledit", *(f"modeledit.{name}" for name in find_packages("lib"))],
    package_dir={"modeledit": "lib"},
)
