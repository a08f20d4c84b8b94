"""Ways in which a connection ends."""

import select
import socket
import struct
import time
import sides

# A peer that has just left a socket call is spoken for by the agent some milliseconds later.
ANSWER = 0.03
LINGER_0 = struct.pack("ii", 1, 0)


def half_close(t):
    s = t.pair()
    if t.is_server:
        t.say("to the end", sides.recv_all(s))
        t.call("answer after the end", s.sendall, b"answer")
        s.close()
    else:
        s.sendall(b"question")
        t.call("shutdown", s.shutdown, socket.SHUT_WR)
        t.call("send after shutdown", s.send, b"more", socket.MSG_NOSIGNAL)
        t.say("answer", sides.recv_all(s))
        s.close()


def both_close_at_once(t):
    s = t.pair()
    t.sync()
    t.call("shutdown", s.shutdown, socket.SHUT_WR)
    t.say("to the end", sides.recv_all(s))
    time.sleep(ANSWER)
    t.call("shutdown again", s.shutdown, socket.SHUT_WR)
    s.close()


def shutdown_read(t):
    s = t.pair()
    if t.is_server:
        t.call("shutdown", s.shutdown, socket.SHUT_RD)
        t.call("recv", s.recv, 10)
        t.sync()
        t.sync()
        t.call("send goes on", s.sendall, b"word")
    else:
        t.sync()
        t.sync()
        t.call("recv", s.recv, 10)
    t.sync()
    s.close()


def shutdown_both(t):
    s = t.pair()
    if t.is_server:
        t.call("shutdown", s.shutdown, socket.SHUT_RDWR)
        t.call("recv", s.recv, 10)
        t.call("send", s.send, b"x", socket.MSG_NOSIGNAL)
    else:
        t.call("recv", s.recv, 10)
    t.sync()
    s.close()


def shutdown_wakes_a_reader(t):
    import threading
    import time

    s = t.pair()
    if t.is_server:
        s.settimeout(None)
        reader = threading.Thread(target=lambda: t.call("woken recv", s.recv, 10))
        reader.start()
        time.sleep(0.1)
        s.shutdown(socket.SHUT_RDWR)
        reader.join()
    t.sync()
    s.close()


def shutdown_wakes_an_acceptor(t):
    import threading
    import time

    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        acceptor = threading.Thread(target=lambda: t.call("woken accept", listener.accept))
        acceptor.start()
        time.sleep(0.1)
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()
        listener.close()
    t.sync()


def reset_by_linger(t):
    s = t.pair()
    if t.is_server:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        s.close()
        t.sync()
    else:
        t.sync()
        sides.wait_readable(s)
        t.call("recv", s.recv, 10)
        t.call("recv again", s.recv, 10)
        t.call("send", s.send, b"x", socket.MSG_NOSIGNAL)
        t.call("peer", s.getpeername)
        s.close()


def reset_while_reading(t):
    s = t.pair()
    if t.is_server:
        s.recv(1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        s.close()
    else:
        s.settimeout(None)
        s.sendall(b"x")
        t.call("blocked recv", s.recv, 10)
        s.close()


def reset_is_an_error_once(t):
    s = t.pair()
    if t.is_server:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        s.close()
        t.sync()
    else:
        t.sync()
        sides.wait_readable(s)
        t.say("SO_ERROR", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        t.say("SO_ERROR again", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        t.call("recv", s.recv, 10)
        s.close()


def unread_data_resets(t):
    s = t.pair()
    if t.is_server:
        sides.wait_readable(s)
        s.close()
        t.sync()
    else:
        s.sendall(b"never read")
        t.sync()
        sides.wait_readable(s)
        t.call("recv", s.recv, 10)
        s.close()


def data_before_reset(t):
    s = t.pair()
    if t.is_server:
        sides.wait_readable(s)
        s.sendall(b"last words")
        s.close()
        t.sync()
    else:
        s.sendall(b"never read")
        t.sync()
        # A reset throws away what was not read yet.
        t.call("recv", s.recv, 100)
        s.close()


def write_after_peer_closed(t):
    s = t.pair()
    if t.is_server:
        s.close()
        t.sync()
    else:
        t.sync()
        t.call("recv", s.recv, 10)
        t.call("send", s.send, b"x")
        time.sleep(ANSWER)
        sides.wait_readable(s)
        t.call("recv after the reset", s.recv, 10)
        t.call("send after the reset", s.send, b"x")
        s.close()


def end_stays(t):
    s = t.pair()
    if t.is_server:
        s.sendall(b"word")
        s.close()
        t.sync()
    else:
        t.sync()
        t.call("recv", s.recv, 10)
        for _ in range(3):
            t.call("end", s.recv, 10)
        t.call("peer is still known", s.getpeername)
        t.call("shutdown", s.shutdown, socket.SHUT_WR)
        s.close()


def linger_waits(t):
    s = t.pair()
    data = sides.pattern(2_000_000, 9)
    if t.is_server:
        t.sync()
        t.say("got", sides.recv_all(s))
        s.close()
    else:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 10))
        t.sync()
        s.sendall(data)
        s.close()
        t.say("closed")
    t.sync()


def close_delivers(t):
    s = t.pair()
    data = sides.pattern(60_000, 11)
    if t.is_server:
        t.sync()
        t.say("got", sides.recv_all(s))
    else:
        s.setblocking(False)
        sent = s.send(data)
        s.close()
        t.sync()
    s.close()


def client_closes_before_accept(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        t.sync("gone")
        s, peer = listener.accept()
        t.say("accepted", peer)
        t.call("recv", s.recv, 10)
        t.call("end", s.recv, 10)
        s.close()
        listener.close()
    else:
        t.sync("listening")
        s = socket.create_connection((sides.V4, port))
        s.sendall(b"hi")
        s.close()
        t.sync("gone")


def listener_closes_with_backlog(t):
    port = t.port()
    if t.is_server:
        listener = t.listener(port)
        t.sync("listening")
        t.sync("connected")
        sides.wait_readable(listener)
        listener.close()
        t.sync("closed")
    else:
        t.sync("listening")
        s = socket.create_connection((sides.V4, port))
        t.sync("connected")
        t.sync("closed")
        sides.wait_readable(s)
        t.call("recv", s.recv, 10)
        t.call("a new connection", socket.create_connection, (sides.V4, port))
        s.close()


def listen_again(t):
    port = t.port()
    for turn in range(3):
        if t.is_server:
            listener = t.listener(port)
            t.sync("listening")
            s, _ = listener.accept()
            t.say(turn, sides.recv_all(s))
            s.close()
            listener.close()
        else:
            t.sync("listening")
            with socket.create_connection((sides.V4, port)) as s:
                s.sendall(b"turn %d" % turn)
        t.sync("done")


sides.main(
    half_close,
    both_close_at_once,
    shutdown_read,
    shutdown_both,
    shutdown_wakes_a_reader,
    shutdown_wakes_an_acceptor,
    reset_by_linger,
    reset_while_reading,
    reset_is_an_error_once,
    unread_data_resets,
    data_before_reset,
    write_after_peer_closed,
    end_stays,
    linger_waits,
    close_delivers,
    client_closes_before_accept,
    listener_closes_with_backlog,
    listen_again,
)
