//! The library as the tool uses it: loaded, its table asked for, packets played to it, time moved.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "loads a library and calls what is in it")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "calls through the table that the library filled in"
)]

use core::ffi::{c_char, c_int, c_longlong, c_uint, c_void};
use core::mem::{MaybeUninit, transmute};
use sidestep_wire::checksum::{self, Check};
use sidestep_wire::tcp::{FastOpen, Flags, Options, Repr};
use sidestep_wire::{Address, Endpoint, Protocol, Seq, ip, tcp};
use std::ffi::CString;
use std::sync::{Mutex, mpsc};

/// Pointers in the table.
const POINTERS: usize = 33;
/// Places of those that are used here, in the tool's order.
const SOCKET: usize = 2;
const BIND: usize = 3;
const LISTEN: usize = 4;
const ACCEPT: usize = 5;
const CONNECT: usize = 6;
const READ: usize = 7;
const WRITE: usize = 12;
const SENDMSG: usize = 16;
const CLOSE: usize = 19;
const SETSOCKOPT: usize = 22;
const NETDEV_SEND: usize = 24;
const NETDEV_RECEIVE: usize = 25;
const USLEEP: usize = 26;
const GETTIMEOFDAY: usize = 27;

const HERE: Address = Address::from_v4([192, 0, 2, 1]);
const THERE: Endpoint = Endpoint::new(Address::from_v4([192, 0, 2, 2]), 40_000);

/// The table, and both ends of what is played.
#[derive(Clone, Copy)]
struct Tool {
    table: [*const c_void; POINTERS],
    here: Address,
    there: Endpoint,
    port: u16,
}

/// There is one stack and one time in a process: one test after the other.
static TURN: Mutex<Option<Tool>> = Mutex::new(None);

// SAFETY: the tool calls the functions from two threads itself.
unsafe impl Send for Tool {}

impl Tool {
    fn load() -> Self {
        let deps = std::env::current_exe().unwrap();
        let file = deps.with_file_name("libsidestep_packetdrill.so");
        let name = CString::new(file.to_str().unwrap()).unwrap();
        let mut table = MaybeUninit::<[*const c_void; POINTERS]>::zeroed();
        // As the tool does: what the library calls by name is found in itself first.
        const FLAGS: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_DEEPBIND;
        // SAFETY: the library is the one built with this test; its function takes a string and room for the table.
        let table = unsafe {
            let library = libc::dlopen(name.as_ptr(), FLAGS);
            assert!(!library.is_null(), "{}: not loaded", file.display());
            let init = libc::dlsym(library, c"packetdrill_interface_init".as_ptr());
            assert!(!init.is_null());
            type Init = unsafe extern "C" fn(*const c_char, *mut c_void);
            transmute::<*mut c_void, Init>(init)(c"mtu=1400".as_ptr(), table.as_mut_ptr().cast());
            table.assume_init()
        };
        assert!(table[1..].iter().all(|function| !function.is_null()));
        let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = free.local_addr().unwrap().port();
        Self {
            table,
            here: HERE,
            there: THERE,
            port,
        }
    }

    /// Calls a function of up to five arguments, all of which fit a register.
    fn call<const N: usize>(&self, place: usize, args: [usize; N]) -> isize {
        type Function =
            unsafe extern "C" fn(*mut c_void, usize, usize, usize, usize, usize) -> isize;
        let mut all = [0; 5];
        all[..N].copy_from_slice(&args);
        // SAFETY: integers and pointers are passed in registers alike; the callers here pass what the function takes.
        unsafe {
            let function = transmute::<*const c_void, Function>(self.table[place]);
            function(
                core::ptr::null_mut(),
                all[0],
                all[1],
                all[2],
                all[3],
                all[4],
            )
        }
    }

    /// As [`call`](Self::call), for a function that returns an int.
    fn number<const N: usize>(&self, place: usize, args: [usize; N]) -> c_int {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the upper half means nothing"
        )]
        let low = self.call(place, args) as c_int;
        low
    }

    fn now_us(&self) -> i64 {
        let mut now = [0i64; 2];
        assert_eq!(
            self.number(GETTIMEOFDAY, [now.as_mut_ptr().addr(), 0, 0]),
            0
        );
        now[0] * 1_000_000 + now[1]
    }

    fn sleep(&self, us: c_uint) {
        self.number(USLEEP, [us as usize, 0, 0]);
    }

    fn listener(&self) -> usize {
        let kind = usize::try_from(libc::SOCK_STREAM).unwrap();
        let fd = self.number(SOCKET, [libc::AF_INET as usize, kind, 0]);
        let fd = usize::try_from(fd).unwrap();
        let mut at = [0u8; 16];
        at[..2].copy_from_slice(&2u16.to_ne_bytes());
        at[2..4].copy_from_slice(&self.port.to_be_bytes());
        assert_eq!(self.number(BIND, [fd, at.as_ptr().addr(), at.len()]), 0);
        assert_eq!(self.number(LISTEN, [fd, 5, 0]), 0);
        fd
    }

    /// A segment arrives.
    fn arrive(&self, repr: &Repr, payload: &[u8]) {
        let transport_len = repr.header_len() + payload.len();
        let packet = ip::Repr {
            src: self.there.addr,
            dst: self.here,
            protocol: Protocol::TCP,
            hop_limit: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            fragment: None,
            payload_len: transport_len,
        };
        let mut bytes = vec![0; 60 + transport_len];
        let at = packet.emit(&mut bytes);
        bytes.truncate(at + transport_len);
        let header = repr.emit(&mut bytes[at..]);
        bytes[at + header..].copy_from_slice(payload);
        let len = u32::try_from(transport_len).unwrap();
        let pseudo = checksum::pseudo_header(self.there.addr, self.here, Protocol::TCP.0, len);
        let sum = checksum::finish(checksum::sum(pseudo, &bytes[at..]));
        bytes[at..][tcp::CHECKSUM_OFFSET..][..2].copy_from_slice(&sum.to_be_bytes());
        let sent = self.number(NETDEV_SEND, [bytes.as_ptr().addr(), bytes.len(), 0]);
        assert_eq!(sent, 0);
    }

    /// The next segment that leaves to where we play: when, its header, its payload.
    fn departure(&self) -> (i64, Repr, Vec<u8>) {
        loop {
            let (ends, at, segment, payload) = self.any_departure();
            if ends == (self.here, self.there.addr) {
                return (at, segment, payload);
            }
        }
    }

    fn any_departure(&self) -> ((Address, Address), i64, Repr, Vec<u8>) {
        let mut bytes = vec![0u8; 4096];
        let mut len = bytes.len();
        let mut at: c_longlong = 0;
        let args = [
            bytes.as_mut_ptr().addr(),
            (&raw mut len).addr(),
            (&raw mut at).addr(),
        ];
        assert_eq!(self.number(NETDEV_RECEIVE, args), 0);
        let (packet, header) = ip::Repr::parse(&bytes[..len], len, Check::Verify).unwrap();
        let (segment, text) = Repr::parse(&bytes[header..len]).unwrap();
        let payload = bytes[header..len][text..].to_vec();
        ((packet.src, packet.dst), at, segment, payload)
    }

    /// A client's socket that opens connections by their first bytes (TCP_FASTOPEN_CONNECT).
    fn client(&self, flags: c_int) -> usize {
        let kind = usize::try_from(libc::SOCK_STREAM | flags).unwrap();
        let fd = self.number(SOCKET, [libc::AF_INET as usize, kind, 0]);
        let fd = usize::try_from(fd).unwrap();
        let on: c_int = 1;
        let option = [libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT];
        let option = option.map(|n| usize::try_from(n).unwrap());
        let value = (&raw const on).addr();
        let args = [fd, option[0], option[1], value, size_of::<c_int>()];
        assert_eq!(self.number(SETSOCKOPT, args), 0);
        fd
    }

    /// connect(2) to where we play; the error number, 0 for none.
    fn connect(&self, fd: usize) -> c_int {
        let to = socket_address(self.there);
        let done = self.number(CONNECT, [fd, to.as_ptr().addr(), to.len()]);
        if done == 0 { 0 } else { errno() }
    }

    /// sendmsg(2) with MSG_FASTOPEN; the error number where it fails.
    fn send_fast(&self, fd: usize, bytes: &[u8]) -> Result<isize, c_int> {
        let mut to = socket_address(self.there);
        let mut part = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: zeroes are a message without anything.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_name = to.as_mut_ptr().cast();
        message.msg_namelen = 16;
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        let flags = usize::try_from(libc::MSG_FASTOPEN).unwrap();
        let n = self.call(SENDMSG, [fd, (&raw const message).addr(), flags]);
        if n >= 0 { Ok(n) } else { Err(errno()) }
    }

    /// Answers a SYN: takes so much of its text, and gives a cookie.
    fn answer(&mut self, syn: &Repr, taken: u32, cookie: FastOpen) {
        self.port = syn.src_port;
        let mut answer = self.segment(Flags::SYN | Flags::ACK, 500, syn.seq.0 + 1 + taken);
        answer.options.mss = Some(1000);
        answer.options.fast_open = Some(cookie);
        self.arrive(&answer, &[]);
    }

    fn segment(&self, flags: Flags, seq: u32, ack: u32) -> Repr {
        Repr {
            src_port: self.there.port,
            dst_port: self.port,
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            window: 1000,
            urgent: 0,
            options: Options::default(),
        }
    }
}

/// A `struct sockaddr_in`.
fn socket_address(at: Endpoint) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&at.port.to_be_bytes());
    bytes[4..8].copy_from_slice(&at.addr.v4().unwrap().octets());
    bytes
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

#[test]
fn plays_a_connection_in_virtual_time() {
    let mut turn = TURN.lock().unwrap();
    let tool = *turn.get_or_insert_with(Tool::load);
    let begun = std::time::Instant::now();
    let listener = tool.listener();

    // A handshake, the answer to which is repeated after a second if nobody acknowledges it.
    let mut syn = tool.segment(Flags::SYN, 100, 0);
    syn.options.mss = Some(1000);
    tool.arrive(&syn, &[]);
    let (first, syn_ack, _) = tool.departure();
    assert_eq!(syn_ack.flags, Flags::SYN | Flags::ACK);
    assert_eq!((syn_ack.ack, syn_ack.options.mss), (Seq(101), Some(1360)));
    let (second, again, _) = tool.departure();
    assert_eq!(again.seq, syn_ack.seq);
    assert!((900_000..1_300_000).contains(&(second - first)));
    let ours = syn_ack.seq.0.wrapping_add(1);
    tool.arrive(&tool.segment(Flags::ACK, 101, ours), &[]);
    let fd = tool.number(ACCEPT, [listener, 0, 0]);
    let fd = usize::try_from(fd).unwrap();

    // A read that blocks ends when the bytes come, two minutes later, and not before.
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let tool = tool;
        let mut bytes = [0u8; 10];
        tell.send(()).unwrap();
        let n = tool.call(READ, [fd, bytes.as_mut_ptr().addr(), bytes.len()]);
        (n, bytes, tool.now_us())
    });
    told.recv().unwrap();
    tool.sleep(120_000_000);
    let arrival = tool.now_us();
    tool.arrive(&tool.segment(Flags::ACK | Flags::PSH, 101, ours), b"hello");
    let (n, bytes, at) = reader.join().unwrap();
    assert_eq!((n, &bytes[..5]), (5, &b"hello"[..]));
    assert!((0..100).contains(&(at - arrival)), "{at} {arrival}");

    // What is written leaves at once, and acknowledges.
    assert_eq!(tool.call(WRITE, [fd, b"world".as_ptr().addr(), 5]), 5);
    let answer = loop {
        let (_, segment, payload) = tool.departure();
        if !payload.is_empty() {
            break (segment.seq, segment.ack, payload);
        }
    };
    assert_eq!(answer, (Seq(ours), Seq(106), b"world".to_vec()));
    for fd in [fd, listener] {
        assert_eq!(tool.number(CLOSE, [fd, 0, 0]), 0);
    }
    assert!(begun.elapsed().as_secs() < 60, "time is virtual");
}

#[test]
fn connections_are_opened_by_their_first_bytes() {
    let mut turn = TURN.lock().unwrap();
    let mut tool = *turn.get_or_insert_with(Tool::load);
    tool.here = Address::from_v4([127, 0, 0, 1]);
    tool.there = Endpoint::new(Address::from_v4([127, 0, 0, 2]), 7);
    let bits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap();
    assert_eq!(
        bits.trim().parse::<u32>().unwrap() & 1,
        1,
        "not allowed here"
    );
    let cookie = FastOpen::new(b"biscuits").unwrap();

    // Without a cookie one is asked for.
    let first = tool.client(libc::SOCK_NONBLOCK);
    assert_eq!(tool.connect(first), libc::EINPROGRESS);
    let (_, syn, text) = tool.departure();
    assert_eq!(syn.options.fast_open, Some(FastOpen::REQUEST));
    assert!(text.is_empty());
    assert_eq!(tool.send_fast(first, b"early"), Err(libc::EALREADY));
    tool.answer(&syn, 0, cookie);
    assert_eq!(tool.departure().1.flags, Flags::ACK);
    // The first such call learns that it is connected, the next one is told so.
    assert_eq!(tool.send_fast(first, b"hello"), Ok(5));
    assert_eq!(tool.departure().2, b"hello");
    assert_eq!(tool.send_fast(first, b"again"), Err(libc::EISCONN));

    // With it, nothing leaves before the first bytes do, and they do with the SYN: no more of them than it takes.
    let second = tool.client(libc::SOCK_NONBLOCK);
    assert_eq!(tool.connect(second), 0);
    assert_eq!(tool.connect(second), libc::EISCONN);
    tool.sleep(50_000);
    let (begun, bytes) = (tool.now_us(), [7u8; 1500]);
    let write = [second, bytes.as_ptr().addr(), bytes.len()];
    assert_eq!(tool.call(WRITE, write), 960);
    let (at, syn, text) = tool.departure();
    assert!(at >= begun && syn.flags == Flags::SYN);
    assert_eq!((syn.options.fast_open, text), (Some(cookie), vec![7; 960]));
    assert_eq!((tool.call(WRITE, write), errno()), (-1, libc::EAGAIN));
    tool.answer(&syn, 960, cookie);
    assert_eq!(tool.departure().1.flags, Flags::ACK);

    // What blocks waits for the handshake, behind which the rest leaves without another word.
    let third = tool.client(0);
    let (tell, told) = mpsc::channel();
    let sender = std::thread::spawn(move || {
        let tool = tool;
        tell.send(()).unwrap();
        (tool.send_fast(third, &[8; 1500]), tool.now_us())
    });
    told.recv().unwrap();
    let (_, syn, text) = tool.departure();
    assert_eq!(text, [8; 960]);
    tool.sleep(20_000);
    let answered = tool.now_us();
    tool.answer(&syn, 960, cookie);
    let (sent, at) = sender.join().unwrap();
    assert!(sent == Ok(1500) && at >= answered, "{sent:?}");
    let (_, rest, text) = tool.departure();
    assert_eq!((rest.ack, text), (Seq(501), vec![8; 540]));
    for fd in [first, second, third] {
        assert_eq!(tool.number(CLOSE, [fd, 0, 0]), 0);
    }
}
