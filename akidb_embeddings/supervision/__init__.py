"""The system's supervisors, which start a program at login and again after a crash: launchd and systemd.

``definition`` has what is to run, ``base`` what both have in common, ``systemd`` and ``launchd`` their files and
commands, and ``here`` chooses this system's. All is the user's own: nothing needs root.
"""
