"""The only room that imports what is private to another package.

One module for each package, so that who needs scipy need not know scikit-learn.
"""
