"""The classroom: a web app that teaches people and measures what they learnt.

Needs the extra ``tutelage[classroom]``; nothing outside this package imports it but the command line, when asked to.
"""
