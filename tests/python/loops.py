"""asyncio, selectors and the servers of the standard library."""

import asyncio
import http.server
import selectors
import socket
import socketserver
import threading
import urllib.request
import xmlrpc.client
import xmlrpc.server
import sides


def asyncio_streams(t):
    port = t.port()
    count = 30

    async def serve():
        done = asyncio.Event()
        served = []

        async def handle(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            served.append(1)
            if len(served) == count:
                done.set()

        server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=128)
        async with server:
            t.sync("listening")
            await asyncio.wait_for(done.wait(), 20)
        t.say("served", len(served))

    async def ask(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        right = 0
        for size in (1, 100, 5000, 200_000):
            data = sides.pattern(size, number)
            writer.write(data)
            await writer.drain()
            right += await reader.readexactly(size) == data
        writer.write_eof()
        right += await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return right

    async def ask_all():
        t.say("right", sum(await asyncio.gather(*[ask(n) for n in range(count)])))

    if t.is_server:
        asyncio.run(serve())
    else:
        t.sync("listening")
        asyncio.run(ask_all())


def asyncio_datagrams(t):
    port = t.port()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, sender):
            self.transport.sendto(data, sender)
            if data == b"last":
                self.done.set_result(True)

    class Ask(asyncio.DatagramProtocol):
        def __init__(self):
            self.answers = asyncio.Queue()

        def datagram_received(self, data, sender):
            self.answers.put_nowait(data)

    async def serve():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", port))
        protocol.done = loop.create_future()
        t.sync("bound")
        await asyncio.wait_for(protocol.done, 20)
        transport.close()

    async def ask():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Ask, remote_addr=("127.0.0.1", port))
        for word in (b"first", b"second", b"last"):
            transport.sendto(word)
            t.say(await asyncio.wait_for(protocol.answers.get(), 10))
        transport.close()

    if t.is_server:
        asyncio.run(serve())
    else:
        t.sync("bound")
        asyncio.run(ask())


def asyncio_refused(t):
    port = t.port()

    async def ask():
        try:
            await asyncio.open_connection("127.0.0.1", port)
        except OSError as e:
            t.say("connect", e)

    if not t.is_server:
        asyncio.run(ask())


def asyncio_cancelled_and_timed_out(t):
    port = t.port()

    async def serve():
        done = asyncio.Event()

        async def handle(reader, writer):
            t.say("got", await reader.read(100))
            await reader.read(100)
            done.set()

        server = await asyncio.start_server(handle, "127.0.0.1", port)
        async with server:
            t.sync("listening")
            await asyncio.wait_for(done.wait(), 20)

    async def ask():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        try:
            await asyncio.wait_for(reader.read(10), 0.1)
        except asyncio.TimeoutError:
            t.say("timed out")
        writer.close()

    if t.is_server:
        asyncio.run(serve())
    else:
        t.sync("listening")
        asyncio.run(ask())


def every_selector(t):
    for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
        port = t.port()
        clients = 10
        if t.is_server:
            listener = t.listener(port, backlog=32)
            listener.setblocking(False)
            selector = kind()
            selector.register(listener, selectors.EVENT_READ)
            t.sync("listening")
            closed = 0
            while closed < clients:
                for key, _ in selector.select(10):
                    if key.fileobj is listener:
                        s, _ = listener.accept()
                        s.setblocking(False)
                        selector.register(s, selectors.EVENT_READ)
                        continue
                    data = key.fileobj.recv(4096)
                    if data:
                        key.fileobj.send(data)
                    else:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                        closed += 1
            t.say(kind.__name__, "closed", closed)
            selector.close()
            listener.close()
        else:
            t.sync("listening")
            connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
            right = 0
            for turn in range(20):
                for number, s in enumerate(connections):
                    s.sendall(b"%d %d" % (turn, number))
                for number, s in enumerate(connections):
                    word = b"%d %d" % (turn, number)
                    right += sides.recv_exactly(s, len(word)) == word
            for s in connections:
                s.close()
            t.say(kind.__name__, "right", right)


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = sides.pattern(int(self.path.strip("/")), 31)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])


def http_server(t):
    for kind in (http.server.HTTPServer, http.server.ThreadingHTTPServer):
        port = t.port()
        if t.is_server:
            server = kind(("127.0.0.1", port), Quiet)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            t.sync("listening")
            t.sync("asked")
            server.shutdown()
            thread.join()
            server.server_close()
            t.say("served")
        else:
            t.sync("listening")
            for size in (0, 1, 1000, 2_000_000):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{size}", timeout=10) as answer:
                    t.say(answer.status, answer.read())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=sides.pattern(100_000, 3), timeout=10) as answer:
                t.say(answer.status, answer.read())
            t.sync("asked")


def http_keep_alive(t):
    import http.client

    port = t.port()
    if t.is_server:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Quiet)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        t.sync("listening")
        t.sync("asked")
        server.shutdown()
        server.server_close()
    else:
        t.sync("listening")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for i in range(50):
            connection.request("GET", f"/{i * 100}")
            answer = connection.getresponse()
            if answer.read() != sides.pattern(i * 100, 31):
                t.say("wrong body", i)
        connection.close()
        t.say("asked")
        t.sync("asked")


def remote_calls(t):
    port = t.port()
    if t.is_server:
        server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", port), logRequests=False)
        server.register_function(lambda a, b: a + b, "add")
        t.sync("listening")
        for _ in range(2):
            server.handle_request()
        server.server_close()
    else:
        t.sync("listening")
        with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}") as proxy:
            t.call("add", proxy.add, 2, 3)
        with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}") as proxy:
            t.call("add", proxy.add, "a", "b")
    t.sync()


def udp_server(t):
    port = t.port()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            data, s = self.request
            s.sendto(data.upper(), self.client_address)

    if t.is_server:
        with socketserver.UDPServer(("127.0.0.1", port), Handler) as server:
            t.sync("bound")
            for _ in range(3):
                server.handle_request()
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(10)
        t.sync("bound")
        for word in (b"a", b"bc", b"def"):
            s.sendto(word, ("127.0.0.1", port))
            t.call("answer", s.recv, 100)
        s.close()
    t.sync()


sides.main(
    asyncio_streams,
    asyncio_datagrams,
    asyncio_refused,
    asyncio_cancelled_and_timed_out,
    every_selector,
    http_server,
    http_keep_alive,
    remote_calls,
    udp_server,
)
