"""The documentation site: docs/, what the code says about itself, and reports, as one folder of pages.

python -m website     builds build/website/site, and fails on any warning or dead link
"""
