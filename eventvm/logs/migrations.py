"""How the file of one format becomes the file of the next; a format that was released is never left out.

The first of these leads from format 1 to 2, the second from 2 to 3. Each is SQL, or a function that is given
the connection. It runs inside one transaction with all the others that a file needs, and may add to the
layout around the records, never to the records themselves: their bytes and leaves are checked afterwards.
"""

import sqlite3
from collections.abc import Callable

Migration = str | Callable[[sqlite3.Connection], object]

MIGRATIONS: tuple[Migration, ...] = ()
