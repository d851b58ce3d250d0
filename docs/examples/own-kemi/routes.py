"""The routes of a site with a KEMI script of its own; what the gateway adds stands between ">>>" and "<<<"."""

import KSR

# >>>
import purple_bridge

# <<<


def mod_init():
    # >>>
    purple_bridge.install(KSR)
    # <<<
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        KSR.force_rport()
        if KSR.maxfwd.process_maxfwd(10) < 0:
            KSR.sl.send_reply(483, "Too Many Hops")
        # >>> in front of the authentication
        elif value("$Rn") == "internal":
            self.internal()
        # <<<
        elif value("$rm") == "OPTIONS":
            KSR.sl.send_reply(200, "OK")
        elif value("$rm") == "ACK" or KSR.tm.t_check_trans() == 0:
            pass
        elif value("$rm") not in ("REGISTER", "MESSAGE", "PUBLISH", "SUBSCRIBE"):
            KSR.sl.send_reply(405, "Method Not Allowed")
        elif self.authenticated() and (value("$rm") == "REGISTER" or KSR.tm.t_newtran() > 0):
            {"REGISTER": self.register, "MESSAGE": self.message, "PUBLISH": self.publish, "SUBSCRIBE": self.subscribe}[
                value("$rm")
            ]()
        return 1

    def authenticated(self):
        realm = value("$fd")
        if KSR.is_myself_furi() < 0:
            KSR.sl.send_reply(403, "Not relaying")
            return False
        found = KSR.auth_db.auth_check(realm, "subscriber", 1)  # 1: From is the authenticated user
        if found < 0:
            KSR.auth.auth_challenge(realm, 1)
            return False
        KSR.auth.consume_credentials()
        return True

    def register(self):
        if KSR.registrar.save("location", 0) > 0:
            # >>> what was kept for the phone comes now; with purple.connect_on=register accounts sign on
            KSR.purple.handle_register()
            # <<<

    def message(self):
        # >>> to an IM contact; -403 and -404: the gateway has nothing to do with it
        code = KSR.purple.send_message()
        if code > 0:
            KSR.sl.send_reply(202, "Accepted")
        elif code not in (-403, -404) or KSR.purple.is_contact(value("$ru")) > 0:
            KSR.purple.reply_error()
        else:
            self.to_phones()
        # <<< before: self.to_phones()

    def publish(self):
        if (value("$rU"), value("$rd")) != (value("$fU"), value("$fd")):
            KSR.sl.send_reply(403, "Presence of another user")
            return
        # >>>
        if KSR.purple.check_publish() < 0:
            KSR.purple.reply_error()
            return
        # <<<
        self.handle_publish(KSR.presence.handle_publish, tell_gateway=True)

    def handle_publish(self, store, tell_gateway=False):
        """One PUBLISH of a user after the other, or the gateway hears of them in another order than the server."""
        # >>>
        key = value("$ru").lower()
        keys = (key, "") if value("$version(num)") >= "6" else (key,)
        KSR.cfgutils.lock(*keys)
        # <<<
        store()
        # >>>
        if tell_gateway and KSR.tm.t_get_status_code() < 300:
            KSR.purple.handle_publish()
        KSR.cfgutils.unlock(*keys)
        # <<<

    def subscribe(self):
        # >>>
        if KSR.purple.prepare_subscribe() < 0:
            KSR.purple.reply_error()
            return
        # <<<
        KSR.presence.handle_subscribe()
        # >>>
        if KSR.tm.t_get_status_code() < 300 and value("$hdr(Event)") == "presence":
            KSR.purple.handle_subscribe(value("$subs(uri)"), int(value("$subs(expires)")))
        # <<<

    def to_phones(self):
        if KSR.registrar.lookup("location") < 0:
            KSR.sl.send_reply(480, "Temporarily Unavailable")
        elif KSR.tm.t_relay() < 0:
            KSR.sl.sl_reply_error()

    # >>>
    def internal(self):
        """What the gateway and the module pua send; nobody else is believed, although the listener is on loopback."""
        from_gateway = KSR.purple.is_from_gateway() > 0
        from_pua = KSR.is_myself(f"sip:{value('$si')}:{value('$sp')};transport=udp") > 0
        method = value("$rm")
        if not from_gateway and not from_pua:
            KSR.sl.send_reply(403, "Forbidden")
        elif KSR.tm.t_newtran() <= 0:
            pass
        elif method == "PUBLISH" and from_pua:
            self.handle_publish(lambda: KSR.presence.handle_publish_uri(purple_bridge.GATEWAY_SENDER))
        elif method == "MESSAGE" and from_gateway:
            self.from_gateway()
        elif method == "SUBSCRIBE" and from_gateway:
            KSR.presence.handle_subscribe()
        elif method == "OPTIONS" and from_gateway:
            found = KSR.purple.has_registered() > 0
            KSR.sl.send_reply(*((200, "OK") if found else (480, "Temporarily Unavailable")))
        else:
            KSR.sl.send_reply(405, "Method Not Allowed")

    def from_gateway(self):
        """A message for the user's phones. Too large for UDP: 513, and it comes again in parts."""
        if int(value("$ml")) > 1100 and ";size=any" not in value("$ru"):
            KSR.sl.send_reply(513, "Message Too Large")
        else:
            KSR.tm.t_set_fr(0, 12000)  # milliseconds for the phones to answer
            self.to_phones()

    # <<<


def value(pseudo_variable):
    return str(KSR.pv.gete(pseudo_variable))
