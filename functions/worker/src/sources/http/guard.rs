//! Which addresses a connector may reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far the addresses are restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Private networks and the machine's own services too, but no machine's own metadata: for the endpoints of buckets on
    /// somebody's own machine.
    Local,
    /// Private networks too, through which a provider's own hosts may be reached from inside of its cloud.
    Provider,
}

impl Reach {
    /// Why an address may not be reached; none where it may.
    pub fn refuses(self, ip: IpAddr) -> Option<&'static str> {
        let kind = kind(ip)?;
        let allowed = match self {
            Self::Public => false,
            Self::Local => !matches!(kind, LINK_LOCAL | METADATA | MULTICAST | BROADCAST),
            Self::Provider => matches!(kind, PRIVATE | SHARED),
        };
        (!allowed).then_some(kind)
    }
}

/// A host leads to an address that may not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// The host, as the URL names it.
    pub host: String,
    pub ip: IpAddr,
    /// What kind of address it is.
    pub kind: &'static str,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, ip, kind } = self;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host == ip.to_string() {
            true => write!(f, "{ip} is {kind}")?,
            false => write!(f, "the host {host:?} leads to {ip}, which is {kind}")?,
        }
        f.write_str("; connectors may not reach it unless the deployment allows the host by name")
    }
}

impl std::error::Error for Forbidden {}

const LOOPBACK: &str = "the worker's own address";
const UNSPECIFIED: &str = "no address of a host";
const LINK_LOCAL: &str = "a link-local address";
const METADATA: &str = "an address of a cloud's metadata";
const MULTICAST: &str = "a multicast address";
const BROADCAST: &str = "the broadcast address";
const PRIVATE: &str = "a private address";
const SHARED: &str = "an address of a provider's own network (100.64.0.0/10)";
const RESERVED: &str = "a reserved address";

const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// What kind of address it is, unless it is a public one.
fn kind(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    Some(match (a, b, c) {
        _ if ip == AZURE_HOST => METADATA,
        (0, ..) => UNSPECIFIED,
        (127, ..) => LOOPBACK,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => PRIVATE,
        (169, 254, _) => LINK_LOCAL,
        (100, 64..=127, _) => SHARED,
        // Protocols, examples, benchmarks and the old relay of 6to4.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => RESERVED,
        (224..=239, ..) => MULTICAST,
        _ if ip.is_broadcast() => BROADCAST,
        (240..=255, ..) => RESERVED,
        _ => return None,
    })
}

fn kind_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(UNSPECIFIED),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(LOOPBACK),
        _ if ip == AWS_METADATA => Some(METADATA),
        // An IPv4 address in other clothes: mapped, compatible, translated, and through the relays NAT64 and 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] | [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => Some(RESERVED),
        // Teredo and other protocols' own.
        [0x2001, 0..=0x1ff, ..] => Some(RESERVED),
        [0xfc00..=0xfdff, ..] => Some(PRIVATE),
        [0xfe80..=0xfebf, ..] => Some(LINK_LOCAL),
        [0xfec0..=0xfeff, ..] => Some(PRIVATE),
        [0xff00..=0xffff, ..] => Some(MULTICAST),
        // All that is public today begins with 001.
        [first, ..] if first >> 13 != 1 => Some(RESERVED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: [&str; 32] = [
        "0.0.0.0",
        "127.0.0.1",
        "127.255.0.3",
        "10.0.0.7",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001::1",
        "fd00:ec2::254",
        "fc00::1",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:0:127.0.0.1",
    ];

    #[test]
    fn only_public_addresses_are_reached() {
        for ip in INNER {
            assert!(Reach::Public.refuses(ip.parse().unwrap()).is_some(), "{ip}");
        }
        for ip in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "2a00::1"]
        {
            assert_eq!(Reach::Public.refuses(ip.parse().unwrap()), None, "{ip}");
        }
    }

    #[test]
    fn metadata_addresses_are_forbidden_to_stores_everywhere_and_loopback_in_a_cloud() {
        let refused = |ip: &str, reach: Reach| reach.refuses(ip.parse().unwrap()).is_some();
        for ip in ["169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254"] {
            assert!(refused(ip, Reach::Local) && refused(ip, Reach::Provider), "{ip}");
        }
        assert!(!refused("127.0.0.1", Reach::Local) && !refused("10.0.0.7", Reach::Local));
        assert!(refused("127.0.0.1", Reach::Provider) && !refused("10.0.0.7", Reach::Provider));
    }
}
