"""Whether the places that models come from answer; asked only when the user asks for it."""

import os
import socket
import urllib.parse

from tinyclap.cli.doctor.finding import OK, WARNING, Finding

_LIMIT_S = 5.0
_HOSTS = {
    "hub": os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
    "Zenodo (weights of msclap2022)": "https://zenodo.org",
    "PyPI": "https://pypi.org",
}


def check_network(places=None, limit_s=_LIMIT_S):
    """Whether servers take a connection.

    Arguments
    ---------
    places : dict of str to str, optional
        What it is called to its address; by default those that tinyclap may ask.
    limit_s : float
        Seconds for each.

    Returns
    -------
    list of Finding

    Example
    -------
    >>> check_network({"nobody": "http://127.0.0.1:9"})[0].status
    'warning'
    """
    return [_check_place(name, address, limit_s) for name, address in (_HOSTS if places is None else places).items()]


def _check_place(name, address, limit_s):
    parts = urllib.parse.urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    part = f"network: {name}"
    try:
        socket.create_connection((parts.hostname, port), timeout=limit_s).close()
    except OSError as error:
        proxy = any(os.environ.get(variable) for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"))
        why = "nothing can be fetched from there" + (" directly; a proxy is set, which may do it" if proxy else "")
        return Finding(part, WARNING, f"{address} does not answer ({error})", why, "export HF_HUB_OFFLINE=1")
    return Finding(part, OK, f"{address} answers")
