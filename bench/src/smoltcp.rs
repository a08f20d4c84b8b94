//! The peer: smoltcp's TCP on its own API, two threads over a ring in shared memory, checksums computed and verified.

mod device;
mod sys;

use crate::clock::Stopwatch;
use crate::model::Problem;
use crate::placement::{Cpus, pin_thread};
use device::RingDevice;
use hdrhistogram::Histogram;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PORT: u16 = 2048;
const MTU: usize = 1500;
const SOCKET_BUFFER_BYTES: usize = 64 << 10;
/// Longest half round trip that is told from longer ones.
const HALF_NS_MAX: u64 = 60_000_000_000;
/// Longest that the whole exchange may stand still.
const STALL: Duration = Duration::from_secs(5);

/// Half round trips of `message_bytes` over TCP for so many seconds after a warm-up, in nanoseconds.
pub(crate) fn half_round_trips(
    cpus: Cpus,
    message_bytes: usize,
    warmup_seconds: f64,
    seconds: f64,
) -> Result<Histogram<u64>, Problem> {
    let (server_end, client_end) = sys::pair();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            pin_thread(cpus.server)?;
            Host::new(1, RingDevice::new(server_end, MTU)).serve(message_bytes, &done)
        });
        let client = scope.spawn(|| {
            let result = pin_thread(cpus.client)
                .map_err(Problem::from)
                .and_then(|()| {
                    let mut host = Host::new(2, RingDevice::new(client_end, MTU));
                    host.connect()?;
                    host.exchange(message_bytes, warmup_seconds)?;
                    host.exchange(message_bytes, seconds)
                });
            done.store(true, Ordering::Release);
            result
        });
        let died = |_| Problem::Failed("a thread of the smoltcp peer panicked".into());
        let histogram = client.join().map_err(died)??;
        server.join().map_err(died)??;
        Ok(histogram)
    })
}

/// One end: an interface, and a socket on it.
struct Host {
    interface: Interface,
    device: RingDevice,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    clock: sidestep_shm::Clock,
}

impl Host {
    fn new(number: u8, mut device: RingDevice) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(number);
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // An interface starts with room for at least one address.
            let _ = addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, number), 24));
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; SOCKET_BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            interface,
            device,
            sockets,
            handle,
            clock: sidestep_shm::Clock::new(),
        }
    }

    fn poll(&mut self) -> &mut tcp::Socket<'static> {
        let micros = i64::try_from(self.clock.now().as_micros()).unwrap_or(i64::MAX);
        self.interface.poll(
            Instant::from_micros(micros),
            &mut self.device,
            &mut self.sockets,
        );
        self.sockets.get_mut(self.handle)
    }

    /// Answers every message of this length until `done`.
    fn serve(mut self, message_bytes: usize, done: &AtomicBool) -> Result<(), Problem> {
        let failed = |what: &str| Problem::Failed(format!("smoltcp server: {what}"));
        // Before the first packet is looked at: a SYN that finds no listener is reset.
        self.sockets
            .get_mut::<tcp::Socket<'_>>(self.handle)
            .listen(PORT)
            .map_err(|e| failed(&e.to_string()))?;
        let mut message = vec![0; message_bytes];
        while !done.load(Ordering::Relaxed) {
            let socket = self.poll();
            if socket.recv_queue() >= message_bytes {
                socket
                    .recv_slice(&mut message)
                    .map_err(|e| failed(&e.to_string()))?;
                socket
                    .send_slice(&message)
                    .map_err(|e| failed(&e.to_string()))?;
                self.poll();
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<(), Problem> {
        let context = self.interface.context();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket
            .connect(context, (IpAddress::v4(10, 0, 0, 1), PORT), 40_000)
            .map_err(|e| Problem::Failed(format!("smoltcp client: {e}")))?;
        let watch = Stopwatch::start();
        while !self.poll().may_send() {
            if watch.elapsed() > STALL {
                return Err(Problem::Failed("smoltcp client: no connection".into()));
            }
        }
        Ok(())
    }

    /// Sends a message and waits for its answer, again and again for so long; halves of the times it takes.
    fn exchange(&mut self, message_bytes: usize, seconds: f64) -> Result<Histogram<u64>, Problem> {
        let failed = |what: &str| Problem::Failed(format!("smoltcp client: {what}"));
        let mut halves =
            Histogram::new_with_bounds(1, HALF_NS_MAX, 3).map_err(|e| failed(&e.to_string()))?;
        let mut message = vec![7; message_bytes];
        let watch = Stopwatch::start();
        let mut last = 0;
        while watch.elapsed().as_secs_f64() < seconds {
            let start = watch.ns();
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
            socket
                .send_slice(&message)
                .map_err(|e| failed(&e.to_string()))?;
            loop {
                let socket = self.poll();
                if socket.recv_queue() >= message_bytes {
                    socket
                        .recv_slice(&mut message)
                        .map_err(|e| failed(&e.to_string()))?;
                    break;
                }
                last += 1;
                if last % (1 << 24) == 0
                    && watch.ns() - start > u64::try_from(STALL.as_nanos()).unwrap_or(u64::MAX)
                {
                    return Err(failed("no answer"));
                }
            }
            halves.saturating_record((watch.ns() - start) / 2);
        }
        Ok(halves)
    }
}

#[cfg(test)]
mod tests;
