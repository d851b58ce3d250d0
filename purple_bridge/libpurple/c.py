"""Declarations of the C functions, structures and constants in use; the names are those of the header files.

Two handles on the same library: ``purple`` releases Python's lock during the call (for what may take long or call
back), ``purple_quick`` keeps it (for getters that return at once: the release would cost five times the call).
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_long, c_size_t, c_ssize_t, c_uint, c_void_p
from typing import Any

LIBPURPLE = "libpurple.so.0"
LIBGLIB = "libglib-2.0.so.0"

# RTLD_GLOBAL: the protocol plugins leave libpurple's symbols to be found in the process
purple = ctypes.CDLL(LIBPURPLE, mode=ctypes.RTLD_GLOBAL)
purple_quick = ctypes.PyDLL(LIBPURPLE, mode=ctypes.RTLD_GLOBAL)
glib = ctypes.CDLL(LIBGLIB)
glib_quick = ctypes.PyDLL(LIBGLIB)
libc = ctypes.CDLL(None)

Pointer = c_void_p
Signature = tuple[Any, ...]


def _declare(library: ctypes.CDLL, functions: dict[str, Signature]) -> None:
    """``functions``: name -> (result type, argument types...)."""
    for name, (result, *arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


# ---------------------------------------------------------------- callback types
GSourceFunc = CFUNCTYPE(c_int, c_void_p)
GUnixFDSourceFunc = CFUNCTYPE(c_int, c_int, c_uint, c_void_p)
PurpleInputFunction = CFUNCTYPE(None, c_void_p, c_int, c_uint)  # eventloop.h
AccountFunction = CFUNCTYPE(None, c_void_p)
AuthorizationFunction = CFUNCTYPE(None, c_void_p)  # account.h PurpleAccountRequestAuthorizationCb


# ---------------------------------------------------------------- structures
class GList(Structure):
    """glib/glist.h; a GSList (gslist.h) is the same without ``prev``"""


GList._fields_ = [("data", c_void_p), ("next", POINTER(GList)), ("prev", POINTER(GList))]


class EventLoopUiOps(Structure):
    """eventloop.h PurpleEventLoopUiOps"""

    _fields_ = [
        ("timeout_add", c_void_p),
        ("timeout_remove", c_void_p),
        ("input_add", c_void_p),
        ("input_remove", c_void_p),
        ("input_get_error", c_void_p),
        ("timeout_add_seconds", c_void_p),
        ("reserved", c_void_p * 3),
    ]


class CoreUiOps(Structure):
    """core.h PurpleCoreUiOps"""

    _fields_ = [
        ("ui_prefs_init", c_void_p),
        ("debug_ui_init", c_void_p),
        ("ui_init", c_void_p),
        ("quit", c_void_p),
        ("get_ui_info", c_void_p),
        ("reserved", c_void_p * 3),
    ]


class DebugUiOps(Structure):
    """debug.h PurpleDebugUiOps"""

    _fields_ = [("print", c_void_p), ("is_enabled", c_void_p), ("reserved", c_void_p * 4)]


class AccountUiOps(Structure):
    """account.h PurpleAccountUiOps"""

    _fields_ = [
        ("notify_added", c_void_p),
        ("status_changed", c_void_p),
        ("request_add", c_void_p),
        ("request_authorize", c_void_p),
        ("close_account_request", c_void_p),
        ("reserved", c_void_p * 4),
    ]


class ConnectionUiOps(Structure):
    """connection.h PurpleConnectionUiOps"""

    _fields_ = [
        ("connect_progress", c_void_p),
        ("connected", c_void_p),
        ("disconnected", c_void_p),
        ("notice", c_void_p),
        ("report_disconnect", c_void_p),
        ("network_connected", c_void_p),
        ("network_disconnected", c_void_p),
        ("report_disconnect_reason", c_void_p),
        ("reserved", c_void_p * 3),
    ]


class ConversationUiOps(Structure):
    """conversation.h PurpleConversationUiOps"""

    _fields_ = [
        ("create_conversation", c_void_p),
        ("destroy_conversation", c_void_p),
        ("write_chat", c_void_p),
        ("write_im", c_void_p),
        ("write_conv", c_void_p),
        ("chat_add_users", c_void_p),
        ("chat_rename_user", c_void_p),
        ("chat_remove_users", c_void_p),
        ("chat_update_user", c_void_p),
        ("present", c_void_p),
        ("has_focus", c_void_p),
        ("custom_smiley_add", c_void_p),
        ("custom_smiley_write", c_void_p),
        ("custom_smiley_close", c_void_p),
        ("send_confirm", c_void_p),
        ("reserved", c_void_p * 4),
    ]


class BlistUiOps(Structure):
    """blist.h PurpleBlistUiOps"""

    _fields_ = [
        ("new_list", c_void_p),
        ("new_node", c_void_p),
        ("show", c_void_p),
        ("update", c_void_p),
        ("remove", c_void_p),
        ("destroy", c_void_p),
        ("set_visible", c_void_p),
        ("request_add_buddy", c_void_p),
        ("request_add_chat", c_void_p),
        ("request_add_group", c_void_p),
        ("save_node", c_void_p),
        ("remove_node", c_void_p),
        ("save_account", c_void_p),
        ("reserved", c_void_p),
    ]


class RequestUiOps(Structure):
    """request.h PurpleRequestUiOps"""

    _fields_ = [
        ("request_input", c_void_p),
        ("request_choice", c_void_p),
        ("request_action", c_void_p),
        ("request_fields", c_void_p),
        ("request_file", c_void_p),
        ("close_request", c_void_p),
        ("request_folder", c_void_p),
        ("request_action_with_icon", c_void_p),
        ("request_screenshare_media", c_void_p),
        ("reserved", c_void_p * 2),
    ]


class NotifyUiOps(Structure):
    """notify.h PurpleNotifyUiOps"""

    _fields_ = [
        ("notify_message", c_void_p),
        ("notify_email", c_void_p),
        ("notify_emails", c_void_p),
        ("notify_formatted", c_void_p),
        ("notify_searchresults", c_void_p),
        ("notify_searchresults_new_rows", c_void_p),
        ("notify_userinfo", c_void_p),
        ("notify_uri", c_void_p),
        ("close_notify", c_void_p),
        ("reserved", c_void_p * 4),
    ]


class DnsQueryUiOps(Structure):
    """dnsquery.h PurpleDnsQueryUiOps"""

    _fields_ = [("resolve_host", c_void_p), ("destroy", c_void_p), ("reserved", c_void_p * 4)]


class SrvTxtQueryUiOps(Structure):
    """dnssrv.h PurpleSrvTxtQueryUiOps"""

    _fields_ = [("resolve", c_void_p), ("destroy", c_void_p), ("reserved", c_void_p * 4)]


class SrvResponse(Structure):
    """dnssrv.h PurpleSrvResponse"""

    _fields_ = [("hostname", c_char * 256), ("port", c_int), ("weight", c_int), ("pref", c_int)]


class TxtResponse(Structure):
    """dnssrv.h PurpleTxtResponse"""

    _fields_ = [("content", c_void_p)]


class PluginInfo(Structure):
    """plugin.h PurplePluginInfo, up to what is read here"""

    _fields_ = [
        ("magic", c_uint),
        ("major_version", c_uint),
        ("minor_version", c_uint),
        ("type", c_int),
        ("ui_requirement", c_char_p),
        ("flags", ctypes.c_ulong),
        ("dependencies", c_void_p),
        ("priority", c_int),
        ("id", c_char_p),
        ("name", c_char_p),
        ("version", c_char_p),
        ("summary", c_char_p),
        ("description", c_char_p),
        ("author", c_char_p),
        ("homepage", c_char_p),
        ("load", c_void_p),
        ("unload", c_void_p),
        ("destroy", c_void_p),
        ("ui_info", c_void_p),
        ("extra_info", c_void_p),
    ]


class Plugin(Structure):
    """plugin.h PurplePlugin, up to what is read here"""

    _fields_ = [
        ("native_plugin", c_int),
        ("loaded", c_int),
        ("handle", c_void_p),
        ("path", c_char_p),
        ("info", POINTER(PluginInfo)),
    ]


class BuddyIconSpec(Structure):
    """prpl.h PurpleBuddyIconSpec"""

    _fields_ = [("format", c_char_p), ("sizes", c_int * 4), ("max_filesize", c_size_t), ("scale_rules", c_int)]


class ProtocolInfo(Structure):
    """prpl.h PurplePluginProtocolInfo, up to what is read here"""

    _fields_ = [
        ("options", c_uint),
        ("user_splits", c_void_p),
        ("protocol_options", POINTER(GList)),
        ("icon_spec", BuddyIconSpec),
        ("functions", c_void_p * 10),  # list_icon to close
        ("send_im", c_void_p),
        ("more_functions", c_void_p * 45),  # set_info to whiteboard_prpl_ops
        ("send_raw", CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)),
    ]


class XmlNode(Structure):
    """xmlnode.h struct _xmlnode, up to what is read here"""

    _fields_ = [
        ("name", c_char_p),
        ("xmlns", c_char_p),
        ("type", c_int),
        ("data", c_void_p),
        ("data_sz", c_size_t),
        ("parent", c_void_p),
        ("child", c_void_p),
        ("lastchild", c_void_p),
        ("next", c_void_p),
    ]


class KeyValuePair(Structure):
    """util.h PurpleKeyValuePair"""

    _fields_ = [("key", c_char_p), ("value", c_char_p)]


class SslConnection(Structure):
    """sslconn.h PurpleSslConnection"""

    _fields_ = [
        ("host", c_void_p),
        ("port", c_int),
        ("connect_cb_data", c_void_p),
        ("connect_cb", c_void_p),
        ("error_cb", c_void_p),
        ("recv_cb_data", c_void_p),
        ("recv_cb", c_void_p),
        ("fd", c_int),
        ("inpa", c_uint),
        ("connect_data", c_void_p),
        ("private_data", c_void_p),
        ("verifier", c_void_p),
    ]


class SslOps(Structure):
    """sslconn.h PurpleSslOps"""

    _fields_ = [
        ("init", c_void_p),
        ("uninit", c_void_p),
        ("connectfunc", c_void_p),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("get_peer_certificates", c_void_p),
        ("reserved", c_void_p * 3),
    ]


class CertificateScheme(Structure):
    """certificate.h PurpleCertificateScheme, up to what is called here"""

    _fields_ = [("name", c_char_p), ("fullname", c_char_p), ("functions", c_void_p * 13), ("verify_cert", c_void_p)]


class SslNssData(Structure):
    """ssl-nss.c PurpleSslNssData, up to what is read here; ``in_`` is NSS's own object"""

    _fields_ = [("fd", c_void_p), ("in_", c_void_p)]


class SecItem(Structure):
    """NSS, seccomon.h SECItem"""

    _fields_ = [("type", c_int), ("data", POINTER(ctypes.c_ubyte)), ("len", c_uint)]


class NssCertificate(Structure):
    """NSS, certt.h CERTCertificate, up to what is read here"""

    _fields_ = [
        ("arena", c_void_p),
        ("subjectName", c_void_p),
        ("issuerName", c_void_p),
        ("signatureWrap", SecItem * 4),
        ("derCert", SecItem),
    ]


class Certificate(Structure):
    """certificate.h PurpleCertificate, of the plugin ssl-nss"""

    _fields_ = [("scheme", POINTER(CertificateScheme)), ("data", POINTER(NssCertificate))]


class NssCertificateList(Structure):
    """NSS, certt.h CERTCertListNode; the head of the list, a CERTCertList, is one without a certificate"""


NssCertificateList._fields_ = [
    ("next", POINTER(NssCertificateList)),
    ("prev", c_void_p),
    ("cert", POINTER(NssCertificate)),
]


class CertificateVerifier(Structure):
    """certificate.h PurpleCertificateVerifier"""

    _fields_ = [
        ("scheme_name", c_char_p),
        ("name", c_char_p),
        ("start_verification", c_void_p),
        ("destroy_request", c_void_p),
        ("reserved", c_void_p * 4),
    ]


class VerificationRequest(Structure):
    """certificate.h PurpleCertificateVerificationRequest"""

    _fields_ = [
        ("verifier", c_void_p),
        ("scheme", POINTER(CertificateScheme)),
        ("subject_name", c_char_p),
        ("cert_chain", POINTER(GList)),
        ("data", c_void_p),
        ("cb", c_void_p),
        ("cb_data", c_void_p),
    ]


class ByteArray(Structure):
    """glib/garray.h GByteArray"""

    _fields_ = [("data", POINTER(ctypes.c_ubyte)), ("len", c_uint)]


# ---------------------------------------------------------------- constants
G_IO_IN, G_IO_OUT, G_IO_ERR, G_IO_HUP, G_IO_NVAL = 1, 4, 8, 16, 32

PURPLE_INPUT_READ, PURPLE_INPUT_WRITE = 1, 2  # eventloop.h

PURPLE_CONV_TYPE_IM = 1  # conversation.h

PURPLE_MESSAGE_SEND = 0x0001
PURPLE_MESSAGE_RECV = 0x0002
PURPLE_MESSAGE_SYSTEM = 0x0004
PURPLE_MESSAGE_AUTO_RESP = 0x0008
PURPLE_MESSAGE_ERROR = 0x0200
PURPLE_MESSAGE_DELAYED = 0x0400
PURPLE_MESSAGE_REMOTE_SEND = 0x10000

PURPLE_NOT_TYPING, PURPLE_TYPING = 0, 1  # conversation.h PurpleTypingState

PURPLE_DISCONNECTED, PURPLE_CONNECTED, PURPLE_CONNECTING = 0, 1, 2  # connection.h

XMLNODE_TYPE_TAG = 0  # xmlnode.h

PURPLE_BLIST_BUDDY_NODE = 2  # blist.h PurpleBlistNodeType

# prpl.h PurpleProtocolOptions
OPT_PROTO_NO_PASSWORD = 0x10
OPT_PROTO_PASSWORD_OPTIONAL = 0x80

# prefs.h PurplePrefType
PURPLE_PREF_BOOLEAN, PURPLE_PREF_INT, PURPLE_PREF_STRING, PURPLE_PREF_STRING_LIST = 1, 2, 3, 4

PURPLE_PROXY_HTTP = 1  # proxy.h

# ---------------------------------------------------------------- functions
_QUICK: dict[str, Signature] = {
    "purple_account_get_connection": (Pointer, Pointer),
    "purple_account_get_bool": (c_int, Pointer, c_char_p, c_int),
    "purple_account_get_int": (c_int, Pointer, c_char_p, c_int),
    "purple_account_get_string": (c_char_p, Pointer, c_char_p, c_char_p),
    "purple_account_is_connected": (c_int, Pointer),
    "purple_account_is_disconnected": (c_int, Pointer),
    "purple_account_get_presence": (Pointer, Pointer),
    "purple_account_get_status": (Pointer, Pointer, c_char_p),
    "purple_account_get_status_type_with_primitive": (Pointer, Pointer, c_int),
    "purple_account_get_username": (c_char_p, Pointer),
    "purple_buddy_get_account": (Pointer, Pointer),
    "purple_buddy_get_group": (Pointer, Pointer),
    "purple_buddy_get_icon": (Pointer, Pointer),
    "purple_buddy_get_local_buddy_alias": (c_char_p, Pointer),
    "purple_buddy_get_name": (c_char_p, Pointer),
    "purple_buddy_get_presence": (Pointer, Pointer),
    "purple_buddy_get_server_alias": (c_char_p, Pointer),
    "purple_buddy_icon_get_checksum": (c_char_p, Pointer),
    "purple_buddy_icon_get_data": (Pointer, Pointer, POINTER(c_size_t)),
    "purple_blist_node_get_type": (c_int, Pointer),
    "purple_connection_get_account": (Pointer, Pointer),
    "purple_connection_get_password": (c_char_p, Pointer),
    "purple_connection_get_protocol_data": (Pointer, Pointer),
    "purple_connections_get_connecting": (POINTER(GList),),
    "purple_connection_error_is_fatal": (c_int, c_int),
    "purple_connection_get_display_name": (c_char_p, Pointer),
    "purple_connections_get_all": (POINTER(GList),),
    "purple_conversation_get_account": (Pointer, Pointer),
    "purple_conversation_get_name": (c_char_p, Pointer),
    "purple_dnsquery_get_host": (c_char_p, Pointer),
    "purple_dnsquery_get_port": (ctypes.c_ushort, Pointer),
    "purple_srv_txt_query_get_query": (c_char_p, Pointer),
    "purple_srv_txt_query_get_type": (c_int, Pointer),
    "purple_presence_get_active_status": (Pointer, Pointer),
    "purple_presence_get_status": (Pointer, Pointer, c_char_p),
    "purple_presence_is_idle": (c_int, Pointer),
    "purple_presence_get_idle_time": (c_long, Pointer),
    "purple_status_get_type": (Pointer, Pointer),
    "purple_status_is_active": (c_int, Pointer),
    "purple_status_get_attr_string": (c_char_p, Pointer, c_char_p),
    "purple_status_type_get_attr": (Pointer, Pointer, c_char_p),
    "purple_status_type_get_id": (c_char_p, Pointer),
    "purple_status_type_get_primitive": (c_int, Pointer),
    "purple_account_option_get_type": (c_int, Pointer),
    "purple_account_option_get_text": (c_char_p, Pointer),
    "purple_account_option_get_setting": (c_char_p, Pointer),
    "purple_account_option_get_default_bool": (c_int, Pointer),
    "purple_account_option_get_default_int": (c_int, Pointer),
    "purple_account_option_get_default_string": (c_char_p, Pointer),
    "purple_account_option_get_default_list_value": (c_char_p, Pointer),
    "purple_account_option_get_list": (POINTER(GList), Pointer),
    "purple_find_buddy": (Pointer, Pointer, c_char_p),
    "purple_find_buddies": (POINTER(GList), Pointer, c_char_p),
    "purple_find_group": (Pointer, c_char_p),
    "purple_group_get_name": (c_char_p, Pointer),
    "purple_normalize": (c_char_p, Pointer, c_char_p),
    "purple_core_get_version": (c_char_p,),
    "serv_send_im": (c_int, Pointer, c_char_p, c_char_p, c_int),
    "xmlnode_free": (None, Pointer),
    "xmlnode_get_attrib": (c_char_p, Pointer, c_char_p),
    "xmlnode_get_attrib_with_namespace": (c_char_p, Pointer, c_char_p, c_char_p),
    "xmlnode_get_child_with_namespace": (Pointer, Pointer, c_char_p, c_char_p),
    "xmlnode_get_data": (Pointer, Pointer),
    "xmlnode_insert_data": (None, Pointer, c_char_p, c_ssize_t),
    "xmlnode_new": (Pointer, c_char_p),
    "xmlnode_new_child": (Pointer, Pointer, c_char_p),
    "xmlnode_remove_attrib": (None, Pointer, c_char_p),
    "xmlnode_set_attrib": (None, Pointer, c_char_p, c_char_p),
    "xmlnode_set_namespace": (None, Pointer, c_char_p),
}

_PURPLE: dict[str, Signature] = {
    "purple_account_add_buddy": (None, Pointer, Pointer),
    "purple_account_add_buddy_with_invite": (None, Pointer, Pointer, c_char_p),
    "purple_account_new": (Pointer, c_char_p, c_char_p),
    "purple_account_remove_buddy": (None, Pointer, Pointer, Pointer),
    "purple_account_set_bool": (None, Pointer, c_char_p, c_int),
    "purple_account_set_enabled": (None, Pointer, c_char_p, c_int),
    "purple_account_set_int": (None, Pointer, c_char_p, c_int),
    "purple_account_set_password": (None, Pointer, c_char_p),
    "purple_account_set_remember_password": (None, Pointer, c_int),
    "purple_account_set_status_list": (None, Pointer, c_char_p, c_int, POINTER(GList)),
    "purple_account_set_string": (None, Pointer, c_char_p, c_char_p),
    "purple_account_set_username": (None, Pointer, c_char_p),
    "purple_account_clear_settings": (None, Pointer),
    "purple_accounts_add": (None, Pointer),
    "purple_accounts_delete": (None, Pointer),
    "purple_accounts_set_ui_ops": (None, Pointer),
    "purple_blist_add_buddy": (None, Pointer, Pointer, Pointer, Pointer),
    "purple_blist_add_group": (None, Pointer, Pointer),
    "purple_blist_alias_buddy": (None, Pointer, c_char_p),
    "purple_blist_get_handle": (Pointer,),
    "purple_blist_new": (Pointer,),
    "purple_blist_remove_buddy": (None, Pointer),
    "purple_blist_set_ui_ops": (None, Pointer),
    "purple_buddy_icons_set_caching": (None, c_int),
    "purple_buddy_new": (Pointer, Pointer, c_char_p, c_char_p),
    "purple_certificate_add_ca_search_path": (None, c_char_p),
    "purple_certificate_find_pool": (Pointer, c_char_p, c_char_p),
    "purple_certificate_find_verifier": (POINTER(CertificateVerifier), c_char_p, c_char_p),
    "purple_certificate_get_fingerprint_sha256": (POINTER(ByteArray), Pointer, c_int),
    "purple_certificate_pool_contains": (c_int, Pointer, c_char_p),
    "purple_certificate_register_verifier": (c_int, Pointer),
    "purple_certificate_unregister_verifier": (c_int, Pointer),
    "purple_certificate_verify_complete": (None, Pointer, c_int),
    "purple_connections_set_ui_ops": (None, Pointer),
    "purple_conversation_destroy": (None, Pointer),
    "purple_conversations_get_handle": (Pointer,),
    "purple_conversations_set_ui_ops": (None, Pointer),
    "purple_core_init": (c_int, c_char_p),
    "purple_core_quit": (None,),
    "purple_connection_error_reason": (None, Pointer, c_int, c_char_p),
    "purple_connections_get_handle": (Pointer,),
    "purple_core_set_ui_ops": (None, Pointer),
    "purple_debug_set_ui_ops": (None, Pointer),
    "purple_dnsquery_set_ui_ops": (None, Pointer),
    "purple_eventloop_set_ui_ops": (None, Pointer),
    "purple_find_prpl": (POINTER(Plugin), c_char_p),
    "purple_global_proxy_set_info": (None, Pointer),
    "purple_group_new": (Pointer, c_char_p),
    "purple_markup_strip_html": (Pointer, c_char_p),
    "purple_network_force_online": (None,),
    "purple_notify_set_ui_ops": (None, Pointer),
    # this and purple_signal_emit are variadic in C: these are the arguments they are called with here
    "purple_plugin_ipc_call": (Pointer, POINTER(Plugin), c_char_p, Pointer, c_char_p),
    "purple_plugin_register": (c_int, Pointer),
    "purple_plugins_get_protocols": (POINTER(GList),),
    "purple_plugins_get_search_paths": (POINTER(GList),),
    "purple_plugins_init": (None,),
    "purple_prefs_set_bool": (None, c_char_p, c_int),
    "purple_prefs_set_string": (None, c_char_p, c_char_p),
    "purple_presence_set_idle": (None, Pointer, c_int, c_long),
    # variadic in C: a list of attributes that ends with NULL; none is given here
    "purple_prpl_got_user_status": (None, Pointer, c_char_p, c_char_p, Pointer),
    "purple_proxy_info_new": (Pointer,),
    "purple_proxy_info_set_host": (None, Pointer, c_char_p),
    "purple_proxy_info_set_port": (None, Pointer, c_int),
    "purple_proxy_info_set_type": (None, Pointer, c_int),
    "purple_request_close": (None, c_int, Pointer),
    "purple_request_set_ui_ops": (None, Pointer),
    "purple_set_blist": (None, Pointer),
    "purple_signal_connect": (ctypes.c_ulong, Pointer, c_char_p, Pointer, Pointer, Pointer),
    "purple_signal_emit": (None, POINTER(Plugin), c_char_p, Pointer, POINTER(c_void_p)),
    "purple_srv_txt_query_set_ui_ops": (None, Pointer),
    "purple_ssl_get_ops": (POINTER(SslOps),),
    "purple_ssl_set_ops": (None, Pointer),
    "purple_util_set_user_dir": (None, c_char_p),
    "serv_send_im": (c_int, Pointer, c_char_p, c_char_p, c_int),
    "serv_send_typing": (c_uint, Pointer, c_char_p, c_int),
    "serv_alias_buddy": (None, Pointer),
}

_GLIB: dict[str, Signature] = {
    "g_main_loop_new": (Pointer, Pointer, c_int),
    "g_main_loop_run": (None, Pointer),
    "g_main_loop_quit": (None, Pointer),
    "g_main_loop_unref": (None, Pointer),
    "g_main_context_iteration": (c_int, Pointer, c_int),
    "g_main_context_wakeup": (None, Pointer),
}

_GLIB_QUICK: dict[str, Signature] = {
    "g_timeout_add": (c_uint, c_uint, GSourceFunc, c_void_p),
    "g_timeout_add_seconds": (c_uint, c_uint, GSourceFunc, c_void_p),
    "g_source_remove": (c_int, c_uint),
    "g_unix_fd_add": (c_uint, c_int, c_uint, GUnixFDSourceFunc, c_void_p),
    "g_free": (None, Pointer),
    "g_malloc0": (Pointer, c_size_t),
    "g_strdup": (Pointer, c_char_p),
    "g_list_append": (POINTER(GList), POINTER(GList), Pointer),
    "g_byte_array_free": (Pointer, POINTER(ByteArray), c_int),
    "g_list_find": (Pointer, POINTER(GList), Pointer),
    "g_list_free": (None, POINTER(GList)),
    "g_slist_free": (None, POINTER(GList)),
    "g_slist_append": (Pointer, Pointer, Pointer),
    "g_convert": (Pointer, c_char_p, c_long, c_char_p, c_char_p, Pointer, POINTER(c_size_t), Pointer),
    "g_main_context_find_source_by_id": (Pointer, Pointer, c_uint),
    "g_main_context_find_source_by_user_data": (Pointer, Pointer, Pointer),
    "g_source_get_id": (c_uint, Pointer),
    "g_source_set_can_recurse": (None, Pointer, c_int),
    "g_source_set_ready_time": (None, Pointer, ctypes.c_int64),
}

_declare(purple_quick, _QUICK)
_declare(purple, _PURPLE)
_declare(glib, _GLIB)
_declare(glib_quick, _GLIB_QUICK)
libc.vsnprintf.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]
