"""The edge's part of Turnout: everything that moves traffic, as one program without dependencies.

The Ansible module, the watchdog and a person who is logged in at 3 a.m. all go through it. It keeps the
truth about traffic (state.json), and makes the map file and the running HAProxy follow. Every change goes
one way:

    check, journal the intent, write state and map to disk, tell HAProxy, read back, journal the result

so that a crash between any two of these leaves something that `show` can read and that `rollback` (or the
watchdog, by itself) brings to an end. All of it happens under one file lock.

Arrows point one way: errors, state, transitions, checks and lock are pure (no clock, no files, no HAProxy);
store, journal and haproxy touch the world; edge joins them; the commands use all of it; cli is the face.
Standard library only, Python 3.11 or newer; modules that cost start-up time are imported where they are used.
"""
