"""Faults of the name service: it never answers."""

from __future__ import annotations

from pathlib import Path

from tests.agents.phone import Phone
from tests.faults.namespaces import with_file
from tests.faults.scenario import Context, Unavailable, scenario
from tests.faults.site import Site
from tests.gateway import PASSWORD, sip
from tests.servers.silent_dns import SilentDns
from tests.waiting import wait_until

ACCOUNTS = 100
RESOLV_CONF = Path("/etc/resolv.conf")


@scenario(
    "dns-silent",
    f"DNS never answers; {ACCOUNTS} accounts with as many domains look for their servers, a phone's Contact has a name",
    "SIP notices nothing, nor does an account whose server has a name that can be found; it stops within 10 s",
)
def silent(context: Context) -> None:
    try:
        dns = SilentDns(context.directory)
    except OSError as error:
        raise Unavailable(f"port 53 on loopback: {error}") from error
    prefix = with_file(RESOLV_CONF, dns.resolv_conf)
    settings, users = {"connect_on": "start"}, dict.fromkeys(["alice", "bob", "carol"], PASSWORD)
    with dns, Site(context.directory, address="localhost", settings=settings, users=users, prefix=prefix) as site:
        site.begin(context.quick, compared=True)
        for number in range(ACCOUNTS):
            site.gateway.add_account(f"lost{number}", "prpl-jabber", f"lost{number}@silent{number}.test")
        wait_until(lambda: len(site.gateway.accounts()) > ACCOUNTS, 30, "the gateway knows all accounts")
        wait_until(lambda: dns.queries > 0, 30, "the gateway asks for names")
        site.sick.restart()
        with context.report.timed("s until an account whose server restarted is online"):
            site.wait_online(60)
        _write_to_a_name(context, site)
        site.wait_for(1 if context.quick else 40)
        site.settle()
        site.check_answers(context.report)
        site.check_messages(context.report)
        site.check_processes(context.report, spare=8 * ACCOUNTS)  # look-ups on their way have some each
        with context.report.timed("s until it has stopped"):
            site.gateway.kamailio.stop()


def _write_to_a_name(context: Context, site: Site) -> None:
    """To a phone whose Contact has a name that is nowhere."""
    proxy = ("127.0.0.1", site.gateway.kamailio.port)
    with Phone(sip("carol"), PASSWORD, proxy, name="laptop.silent.test") as phone:
        statuses = [phone.register().status]
        statuses += [site.phones["alice"].message(sip("carol"), f"{number}").status for number in range(10)]
        statuses.append(phone.unregister().status)
    context.report.check(set(statuses) == {200}, f"a phone with a host name: {statuses}")
