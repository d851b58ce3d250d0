"""What a native kamailio.cfg calls by python_exec("NAME"): the functions of KSR.purple, under the same names.

Each returns 1, or a SIP status as a negative number, which is $retcode. Never 0: Kamailio would end the route there.
"""

import KSR

import purple_bridge


def mod_init():
    purple_bridge.install(KSR)
    return Functions()


class Functions:
    def child_init(self, rank):
        return 0

    # ---- called as they are

    def send_message(self, msg):
        return KSR.purple.send_message()

    def check_publish(self, msg):
        return KSR.purple.check_publish()

    def handle_publish(self, msg):
        return KSR.purple.handle_publish()

    def prepare_subscribe(self, msg):
        return KSR.purple.prepare_subscribe()

    def handle_register(self, msg):
        return KSR.purple.handle_register()

    def has_registered(self, msg):
        return KSR.purple.has_registered()

    def is_contact(self, msg, uri):
        return KSR.purple.is_contact(uri)

    def is_from_gateway(self, msg):
        return KSR.purple.is_from_gateway()

    def reply_error(self, msg):
        return KSR.purple.reply_error()

    # ---- with values of the request

    def handle_subscribe(self, msg):
        """Behind the presence server's handle_subscribe(), which has set $subs(...)."""
        return KSR.purple.handle_subscribe(KSR.pv.gete("$subs(uri)"), int(KSR.pv.gete("$subs(expires)")))

    def is_from_here(self, msg):
        """Whether the request comes from one of this Kamailio's own UDP sockets, as what the module pua sends."""
        source = KSR.pv.gete("$si"), KSR.pv.gete("$sp")
        return 1 if KSR.is_myself("sip:{}:{};transport=udp".format(*source)) > 0 else -403
