"""IPv6, and IPv4 in IPv6 sockets."""

import socket
import sides

V6, V4 = socket.AF_INET6, socket.AF_INET


def ipv6(t):
    s = t.pair(V6)
    t.say("name", s.getsockname(), "peer", s.getpeername())
    for size in (1, 1440, 100_000):
        if t.is_server:
            s.sendall(sides.recv_exactly(s, size))
        else:
            s.sendall(sides.pattern(size, 4))
            t.say("came back", sides.recv_exactly(s, size))
    t.sync()
    s.close()


def dual_stack_listener(t):
    port = t.port()
    if t.is_server:
        listener = socket.socket(V6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        listener.listen()
        t.sync("listening")
        for _ in range(4):
            s, peer = listener.accept()
            t.say("from", peer, "at", s.getsockname(), "says", s.recv(20))
            s.sendall(b"welcome")
            s.close()
        listener.close()
    else:
        t.sync("listening")
        for host in ("127.0.0.1", "::1", "127.0.0.5"):
            with socket.create_connection((host, port)) as s:
                t.say("name", s.getsockname(), "peer", s.getpeername())
                s.sendall(host.encode())
                t.call("answer", s.recv, 20)
        s = socket.socket(V6)
        t.call("connect to a mapped address", s.connect, ("::ffff:127.0.0.1", port))
        t.say("name", s.getsockname(), "peer", s.getpeername())
        s.sendall(b"mapped")
        t.call("answer", s.recv, 20)
        s.close()


def mapped_client_of_an_ipv4_server(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        s, peer = listener.accept()
        t.say("from", peer, s.recv(20))
        s.close()
        listener.close()
    else:
        t.sync("listening")
        s = socket.socket(V6)
        t.call("connect", s.connect, ("::ffff:127.0.0.1", port))
        s.sendall(b"hello")
        t.call("end", s.recv, 10)
        s.close()
        s = socket.socket(V6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        t.call("not with IPV6_V6ONLY", s.connect, ("::ffff:127.0.0.1", port))
        s.close()


def only_ipv6(t):
    port = t.port()
    if t.is_server:
        listener = socket.socket(V6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("::", port))
        listener.listen()
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        t.call("IPv4 beside it", other.bind, ("0.0.0.0", port))
        other.close()
        t.sync("listening")
        s, peer = listener.accept()
        t.say("from", peer)
        s.close()
        listener.close()
    else:
        t.sync("listening")
        t.call("by IPv4", socket.create_connection, ("127.0.0.1", port))
        s = t.call("by IPv6", socket.create_connection, ("::1", port))
        t.call("end", s.recv, 10)
        s.close()


def both_families_on_one_port(t):
    port = t.port()
    if t.is_server:
        six = socket.socket(V6)
        six.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::1", port))
        six.listen()
        four = t.listener(port)
        t.sync("listening")
        for listener in (four, six):
            s, _ = listener.accept()
            t.say("got", s.recv(10))
            s.close()
            listener.close()
    else:
        t.sync("listening")
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port)) as s:
                s.sendall(host.encode())
                t.call("end", s.recv, 1)


def wildcard_listener(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port, host="0.0.0.0")
        t.sync("listening")
        for _ in range(3):
            s, peer = listener.accept()
            t.say("at", s.getsockname(), "from", peer)
            s.close()
        listener.close()
    else:
        t.sync("listening")
        for host in ("127.0.0.1", "127.0.0.7", "0.0.0.0"):
            s = socket.create_connection((host, port))
            t.say("name", s.getsockname(), "peer", s.getpeername())
            t.call("end", s.recv, 1)
            s.close()


def specific_before_wildcard(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port, host="127.0.0.1")
        t.sync("listening")
        s, _ = listener.accept()
        s.close()
        t.sync("tried")
        listener.close()
    else:
        t.sync("listening")
        socket.create_connection(("127.0.0.1", port)).recv(1)
        t.call("another address", socket.create_connection, ("127.0.0.2", port))
        t.sync("tried")


def udp_dual_stack(t):
    port = t.port()
    if t.is_server:
        s = socket.socket(V6, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind(("::", port))
        s.settimeout(10)
        t.sync("bound")
        for _ in range(3):
            data, sender = s.recvfrom(100)
            t.say(data, sender)
            s.sendto(b"answer", sender)
    else:
        t.sync("bound")
        for family, host in ((V4, "127.0.0.1"), (V6, "::1"), (V6, "::ffff:127.0.0.1")):
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.settimeout(10)
            s.sendto(host.encode(), (host, port))
            t.call("answer", s.recvfrom, 100)
            s.close()
    t.sync()


def shared_port(t):
    port = t.port()
    if t.is_server:
        listeners = []
        for _ in range(2):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            t.call("bind", s.bind, ("127.0.0.1", port))
            s.listen()
            s.setblocking(False)
            listeners.append(s)
        t.sync("listening")
        import select

        served = 0
        while served < 20:
            for ready in select.select(listeners, [], [], 10)[0]:
                s, _ = ready.accept()
                s.sendall(b"x")
                s.close()
                served += 1
        t.say("served", served)
        for s in listeners:
            s.close()
    else:
        t.sync("listening")
        right = 0
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as s:
                right += s.recv(10) == b"x"
        t.say("right", right)
    t.sync()


sides.main(
    ipv6,
    dual_stack_listener,
    mapped_client_of_an_ipv4_server,
    only_ipv6,
    both_families_on_one_port,
    wildcard_listener,
    specific_before_wildcard,
    udp_dual_stack,
    shared_port,
)
