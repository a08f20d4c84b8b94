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
use sidestep_wire::tcp::{Flags, Options, Repr};
use sidestep_wire::{Address, Endpoint, Protocol, Seq, ip, tcp};
use std::ffi::CString;
use std::sync::mpsc;

/// Pointers in the table.
const POINTERS: usize = 33;
/// Places of those that are used here, in the tool's order.
const SOCKET: usize = 2;
const BIND: usize = 3;
const LISTEN: usize = 4;
const ACCEPT: usize = 5;
const READ: usize = 7;
const WRITE: usize = 12;
const CLOSE: usize = 19;
const NETDEV_SEND: usize = 24;
const NETDEV_RECEIVE: usize = 25;
const USLEEP: usize = 26;
const GETTIMEOFDAY: usize = 27;

const HERE: Address = Address::from_v4([192, 0, 2, 1]);
const THERE: Endpoint = Endpoint::new(Address::from_v4([192, 0, 2, 2]), 40_000);

/// The table, and the port that is served.
#[derive(Clone, Copy)]
struct Tool {
    table: [*const c_void; POINTERS],
    port: u16,
}

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
        Self { table, port }
    }

    /// Calls a function of up to three arguments, all of which fit a register.
    fn call(&self, place: usize, args: [usize; 3]) -> isize {
        type Function = unsafe extern "C" fn(*mut c_void, usize, usize, usize) -> isize;
        // SAFETY: integers and pointers are passed in registers alike; the callers here pass what the function takes.
        unsafe {
            let function = transmute::<*const c_void, Function>(self.table[place]);
            function(core::ptr::null_mut(), args[0], args[1], args[2])
        }
    }

    /// As [`call`](Self::call), for a function that returns an int.
    fn number(&self, place: usize, args: [usize; 3]) -> c_int {
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
            src: THERE.addr,
            dst: HERE,
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
        let pseudo = checksum::pseudo_header(THERE.addr, HERE, Protocol::TCP.0, len);
        let sum = checksum::finish(checksum::sum(pseudo, &bytes[at..]));
        bytes[at..][tcp::CHECKSUM_OFFSET..][..2].copy_from_slice(&sum.to_be_bytes());
        let sent = self.number(NETDEV_SEND, [bytes.as_ptr().addr(), bytes.len(), 0]);
        assert_eq!(sent, 0);
    }

    /// The next segment that leaves: when, its header, its payload.
    fn departure(&self) -> (i64, Repr, Vec<u8>) {
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
        assert_eq!((packet.src, packet.dst), (HERE, THERE.addr));
        let (segment, text) = Repr::parse(&bytes[header..len]).unwrap();
        (at, segment, bytes[header..len][text..].to_vec())
    }

    fn segment(&self, flags: Flags, seq: u32, ack: u32) -> Repr {
        Repr {
            src_port: THERE.port,
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

/// All in one test: there is one stack and one time in a process.
#[test]
fn plays_a_connection_in_virtual_time() {
    let tool = Tool::load();
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
