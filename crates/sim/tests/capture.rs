//! A replayed seed can be looked at with any packet analyser.

use pcap_file::pcap::PcapReader;
use sidestep_sim::{Capture, LinkConfig, Scenario};

#[test]
fn a_capture_holds_every_packet_in_order() {
    let path = std::env::temp_dir().join(format!("sidestep-sim-{}.pcap", std::process::id()));
    let capture = Capture::create(&path).expect("a file for temporary use");
    let scenario = Scenario::bulk(3, LinkConfig::CLEAN, 30_000);
    let report = scenario.run(Some(capture)).expect("every property holds");
    let file = std::fs::File::open(&path).expect("it was written");
    let mut reader = PcapReader::new(file).expect("it is a capture");
    let (mut packets, mut bytes, mut last) = (0, 0, None);
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("whole packets");
        assert!(Some(packet.timestamp) >= last);
        last = Some(packet.timestamp);
        packets += 1;
        bytes += packet.data.len();
    }
    let sent: u32 = report.counters.iter().map(|end| end.segments_out).sum();
    assert_eq!(packets, sent);
    assert!(bytes > 30_000, "{bytes}");
    std::fs::remove_file(&path).expect("it is ours");
}
