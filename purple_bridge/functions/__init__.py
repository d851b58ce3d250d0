"""``KSR.purple``: what a route script calls. The only part that touches KSR; runs in the SIP worker's main thread.

``facade``          the functions of KSR.purple, and what they are made of
``error_boundary``  a refusal or a failure becomes a return code, a line of the log, and the answer of reply_error
``message``         MESSAGE: on which account it leaves, and how
``publish``         PUBLISH: what the user's phones say of his presence
``register``        REGISTER, and who has registered
``subscribe``       SUBSCRIBE: to IM contacts, users and contact lists
``xcap``            documents that a phone has read or changed at the XCAP server
``request``         reading the request through KSR
``accounts``        whose IM accounts the mapping has, and which of them reaches a destination
``workers``         handing commands over to the IM workers
``limits``          how much a user may ask for
``process``         what each process opens after the fork: database, counts, ids of messages

Each knows only those below it; the five from ``message`` to ``xcap`` do not know each other.

Every function returns 1 when the gateway took the request over, else a SIP status as a negative number, and then
``reply_error()`` sends that status with its reason:

-400  the request cannot be understood        -415  a content type the gateway cannot carry
-403  the sender has no account on the network -480  it cannot leave now, and must not or cannot wait
-404  the destination is no IM contact        -500  an error of the gateway itself, see the log
-412  no publication has this ETag (RFC 3903)
-413  the body is too large                   -423  a publication shorter than MIN_EXPIRES (Min-Expires says so)
-481  a subscription that is not there        -503  a queue is full or the database does not answer

Nothing here waits for an IM network.
"""

from purple_bridge.functions.facade import PurpleFunctions

__all__ = ["PurpleFunctions"]
