//! The PROXY protocol: whose header is believed (`[proxy_protocol]` of the configuration file).

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{
    Deserialize,
    de::{Deserializer, Error, SeqAccess, Visitor},
};

/// Networks, as they were written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether an address is in one of them.
    pub fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

impl FromStr for Networks {
    type Err = String;

    /// Networks (`10.0.0.0/8`) and addresses between commas; none is a text of blanks.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        names.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse().map(|ip: IpAddr| ip.to_canonical().into());
    address
        .or_else(|_no_address| text.parse())
        .map(|network: IpNet| network.trunc())
        .map_err(|_no_network| format!("\"{text}\" is no network such as 10.0.0.0/8"))
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("networks in quotes, a list of them or one text with commas")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Networks, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Networks, A::Error> {
                let mut networks = Vec::new();
                while let Some(text) = items.next_element::<String>()? {
                    networks.push(network(&text).map_err(A::Error::custom)?);
                }
                Ok(Networks(networks))
            }
        }

        deserializer.deserialize_any(List)
    }
}

/// `[proxy_protocol]` as it is written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProxyProtocolTable {
    pub(super) from: Networks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written() {
        let networks: Networks = " 10.1.2.3/8, 192.168.0.1,fd00::/8,".parse().unwrap();
        assert_eq!(networks.to_string(), "10.0.0.0/8, 192.168.0.1/32, fd00::/8");
        for (ip, expected) in [
            ("10.200.0.1", true),
            ("::ffff:10.200.0.1", true),
            ("11.0.0.1", false),
            ("192.168.0.1", true),
            ("192.168.0.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(networks.contain(ip.parse().unwrap()), expected, "{ip}");
        }
        assert!(!Networks::default().contain("127.0.0.1".parse().unwrap()));
        assert_eq!("".parse(), Ok(Networks::default()));
        let error = "10.0.0.0/33".parse::<Networks>().unwrap_err();
        assert_eq!(error, "\"10.0.0.0/33\" is no network such as 10.0.0.0/8");
    }
}
