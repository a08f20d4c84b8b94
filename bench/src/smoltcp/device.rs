//! smoltcp's device interface over the ring. Checksums are computed and verified in software, as the default is.

use super::sys::End;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// One end of the ring as a device that carries bare IP packets.
pub(super) struct RingDevice {
    end: End,
    mtu: usize,
}

impl RingDevice {
    pub(super) fn new(end: End, mtu: usize) -> Self {
        Self { end, mtu }
    }
}

impl Device for RingDevice {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let End { rx, tx } = &mut self.end;
        (rx.pending() && tx.room()).then_some((Rx(rx), Tx(tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        self.end.tx.room().then_some(Tx(&mut self.end.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A packet that waits.
pub(super) struct Rx<'a>(&'a mut super::sys::Receiver);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        self.0.take(f)
    }
}

/// Room for a packet.
pub(super) struct Tx<'a>(&'a mut super::sys::Sender);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, f: F) -> R {
        self.0.put(bytes, f)
    }
}
