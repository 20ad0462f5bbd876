"""The page that a campaign ends with: one self-contained HTML file.

It works offline by double click: styles, script, drawings and CIFs are inside. Whatever
comes from tables or config passes through Jinja's escaping.
"""
