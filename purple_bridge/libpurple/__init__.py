"""ctypes bindings for libpurple 2: owns everything that is C, knows nothing of SIP or of the rest of the package.

``c``            declarations: functions, structures, constants, as in libpurple's header files
``callbacks``    Python functions that C may call: they log and never raise into C
``glib``         GLib's main loop, timers, file descriptor watches, lists
``eventloop``    libpurple's event-loop operations on GLib
``core``         start and stop of one libpurple per process
``accounts``     accounts, their options, connection and status
``buddies``      the contact list of an account and what it knows of each contact
``changes``      what of it is told to the application, coalesced
``events``       what libpurple reports, as one Protocol for the application to implement
``protocol``     what one protocol plugin does in its own way, and the generic behaviour
``xmpp``         XMPP: acknowledgements, errors, receipts, chat states, carbons
``messages``     XMPP's <message/>: reading and writing one
``stream_management``  what of a stream's stanzas the XMPP server acknowledged
``xmpp_contacts``  XMPP's contacts: the list, who of it is there, permissions, moods
``xmpp_names``   how long names may be that come over XMPP
``xmpp_presence``  XMPP's <presence/>, and the clients of a contact
``xmpp_roster``  XMPP's contact list: reading and changing it
``xmlnode``      XML elements as libpurple keeps them
``irc``          IRC: messages
``irc_lines``    the lines of an IRC server
``irc_presence``  who of a contact list is on IRC, and who is away
``signals``      handlers of libpurple's signals
``requests``     questions libpurple asks a user, answered without one
``dns``          name look-ups without the processes libpurple would fork
``plugins``      the protocol plugins installed and the options they declare
``text``         markup and UTF-8

``bytes`` at the C edge, ``str`` above it.  Everything but ``plugins.list_protocols`` must be called in the thread
that called ``core.Core.start``: libpurple has no locks.
"""
