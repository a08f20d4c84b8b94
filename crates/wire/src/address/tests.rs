use super::{Address, Endpoint};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn families() {
    assert!(address("10.1.2.3").is_v4());
    assert_eq!(address("10.1.2.3").v4(), Some(Ipv4Addr::new(10, 1, 2, 3)));
    assert_eq!(address("10.1.2.3"), address("::ffff:10.1.2.3"));
    assert!(!address("::10.1.2.3").is_v4());
    assert_eq!(address("fe80::1").v4(), None);
    assert_eq!(
        address("fe80::1").ip(),
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))
    );
    assert_eq!(Address::from(Ipv4Addr::LOCALHOST), Address::LOOPBACK_V4);
    assert_eq!(Address::from(Ipv6Addr::LOCALHOST), Address::LOOPBACK_V6);
}

#[test]
fn kinds() {
    assert!(address("0.0.0.0").is_unspecified() && address("::").is_unspecified());
    assert!(!address("0.0.0.1").is_unspecified() && !address("::1").is_unspecified());
    assert!(address("127.9.9.9").is_loopback() && address("::1").is_loopback());
    assert!(!address("128.0.0.1").is_loopback() && !address("::2").is_loopback());
    assert!(address("224.0.0.251").is_multicast() && address("ff02::1").is_multicast());
    assert!(!address("192.0.2.1").is_multicast() && !address("2001:db8::1").is_multicast());
    assert!(address("255.255.255.255").is_broadcast() && !address("10.255.255.255").is_broadcast());
}

#[test]
fn display() {
    assert_eq!(
        Endpoint::new(address("1.2.3.4"), 80).to_string(),
        "1.2.3.4:80"
    );
    assert_eq!(Endpoint::new(address("::1"), 80).to_string(), "[::1]:80");
    let endpoint = Endpoint::new(address("1.2.3.4"), 80);
    assert_eq!(Endpoint::from(endpoint.socket_addr()), endpoint);
}
