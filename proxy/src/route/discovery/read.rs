//! From the rows of a node's answers to what they mean. What cannot be read is refused, row by row.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{Found, Server, Tenant};
use crate::config::{Listing, NodeAddress};

/// Servers that are taken in; more are refused.
const SERVERS_MAX: usize = 1000;
/// Tenants that are taken in; more are refused.
const TENANTS_MAX: usize = 10_000;
/// The longest name of a zone or a tenant, in bytes (`MAX_ZONE_LENGTH` and `OB_MAX_TENANT_NAME_LENGTH` of `OceanBase` are 128).
const NAME_BYTES_MAX: usize = 128;
/// Refused rows that are described.
const DESCRIBED_MAX: usize = 3;

/// A row as it came; `None` is NULL.
type Row = [Option<Vec<u8>>];

/// A node of the configuration, and the addresses that its name has now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seed {
    /// As the configuration names it.
    pub address: NodeAddress,
    /// What that comes to.
    pub resolved: Vec<IpAddr>,
}

/// What a node has answered.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// IP address, SQL port, zone, status, whether it has begun to serve (0 or 1), whether it was stopped (0 or 1).
    pub servers: &'a [Vec<Option<Vec<u8>>>],
    /// Id, name, role (`PRIMARY`, `STANDBY` or NULL).
    pub tenants: &'a [Vec<Option<Vec<u8>>>],
    /// Id of a tenant, IP address, SQL port, whether it leads there (0 or 1).
    pub places: &'a [Vec<Option<Vec<u8>>>],
}

/// Rows that were refused.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Refused {
    /// How many.
    pub count: usize,
    /// What is wrong with the first ones, in a few words.
    pub why: Vec<String>,
}

impl Refused {
    fn add(&mut self, why: String) {
        self.count += 1;
        if self.why.len() < DESCRIBED_MAX && !self.why.contains(&why) {
            self.why.push(why);
        }
    }
}

impl Answers<'_> {
    /// What they mean, where these are the nodes of the configuration; and what was refused.
    pub fn read(self, seeds: &[Seed]) -> (Found, Refused) {
        let mut refused = Refused::default();
        let mut known = BTreeSet::new();
        let mut servers = Vec::new();
        for row in self.servers {
            match server(row, seeds) {
                Ok(server) if servers.len() == SERVERS_MAX => {
                    refused.add(format!(
                        "more than {SERVERS_MAX} servers: {}",
                        server.address
                    ));
                }
                Ok(server) if !known.insert(server.address.clone()) => {
                    refused.add(format!("{} is listed twice", server.address));
                }
                Ok(server) => servers.push(server),
                Err(why) => refused.add(why),
            }
        }
        let mut places = BTreeMap::<&[u8], BTreeMap<NodeAddress, bool>>::new();
        for row in self.places {
            match place(row, seeds) {
                Ok((tenant, address, leads)) => {
                    let place = places.entry(tenant).or_default().entry(address);
                    *place.or_default() |= leads;
                }
                Err(why) => refused.add(why),
            }
        }
        let mut tenants = BTreeMap::new();
        for row in self.tenants {
            match tenant(row) {
                Ok((_, tenant)) if tenants.len() == TENANTS_MAX => {
                    refused.add(format!("more than {TENANTS_MAX} tenants: {}", tenant.name));
                }
                Ok((id, mut tenant)) => {
                    tenant.places = places.remove(id).unwrap_or_default();
                    tenants.insert(tenant.name.clone(), tenant);
                }
                Err(why) => refused.add(why),
            }
        }
        let tenants = tenants.into_values().collect();
        (Found { servers, tenants }, refused)
    }
}

fn server(row: &Row, seeds: &[Seed]) -> Result<Server, String> {
    let [ip, port, zone, status, has_started, is_stopped] = row else {
        return Err(format!("a server of {} columns", row.len()));
    };
    let address = address(ip.as_deref(), port.as_deref(), seeds)?;
    let zone = match zone.as_deref() {
        None | Some(b"") => None,
        Some(zone) => Some(name(Some(zone)).map_err(|why| format!("{address}: zone: {why}"))?),
    };
    let status = text(status.as_deref());
    // A server that somebody has stopped stays ACTIVE.
    let listing = match status.to_ascii_uppercase().as_str() {
        "ACTIVE" if is(is_stopped.as_deref()) => Listing::Stopped,
        "ACTIVE" if is(has_started.as_deref()) => Listing::Active,
        "ACTIVE" => Listing::Starting,
        "INACTIVE" => Listing::Inactive,
        "DELETING" | "TAKENOVER_BY_RS" => Listing::Deleting,
        _ => return Err(format!("{address}: status {}", shown(&status))),
    };
    Ok(Server {
        address,
        zone,
        listing,
    })
}

fn tenant(row: &Row) -> Result<(&[u8], Tenant), String> {
    let [id, tenant, role] = row else {
        return Err(format!("a tenant of {} columns", row.len()));
    };
    let name = name(tenant.as_deref()).map_err(|why| format!("a tenant: {why}"))?;
    let is_standby = match role.as_deref() {
        Some(b"STANDBY") => true,
        // CLONE and RESTORE become a tenant of their own one day.
        None | Some(b"" | b"PRIMARY" | b"CLONE" | b"RESTORE") => false,
        Some(role) => {
            return Err(format!(
                "tenant {name}: role {}",
                shown(&String::from_utf8_lossy(role))
            ));
        }
    };
    let tenant = Tenant {
        name,
        is_standby,
        places: BTreeMap::new(),
    };
    Ok((id.as_deref().unwrap_or_default(), tenant))
}

fn place<'a>(row: &'a Row, seeds: &[Seed]) -> Result<(&'a [u8], NodeAddress, bool), String> {
    let [tenant, ip, port, leads] = row else {
        return Err(format!("a place of {} columns", row.len()));
    };
    let address = address(ip.as_deref(), port.as_deref(), seeds)?;
    let tenant = tenant.as_deref().ok_or("a place of no tenant")?;
    Ok((tenant, address, is(leads.as_deref())))
}

/// A server's address, by the name that the configuration has for it.
fn address(ip: Option<&[u8]>, port: Option<&[u8]>, seeds: &[Seed]) -> Result<NodeAddress, String> {
    let (ip, port) = (text(ip), text(port));
    let number: u16 = port.parse().unwrap_or_default();
    let parsed = ip.parse::<IpAddr>().ok().filter(|_| number != 0);
    let Some(ip) = parsed.map(|ip| ip.to_canonical()) else {
        return Err(format!("address {}, SQL port {}", shown(&ip), shown(&port)));
    };
    if !may_be_reached(ip, seeds) {
        return Err(format!("{ip}:{number} is nowhere but on its own host"));
    }
    let seed = seeds.iter().find(|seed| {
        let mut resolved = seed.resolved.iter();
        seed.address.port == number && resolved.any(|known| *known == ip)
    });
    Ok(seed.map_or_else(
        || SocketAddr::new(ip, number).into(),
        |seed| seed.address.clone(),
    ))
}

/// Whether an address can lead from here to where it does from the server that names it: one of loopback does where a node of the configuration has one, too.
fn may_be_reached(ip: IpAddr, seeds: &[Seed]) -> bool {
    let is_here = || {
        let mut known = seeds.iter().flat_map(|seed| &seed.resolved);
        known.any(IpAddr::is_loopback)
    };
    !ip.is_unspecified() && !ip.is_multicast() && (!ip.is_loopback() || is_here())
}

/// A name that can stand in a login and in a table for operators.
fn name(bytes: Option<&[u8]>) -> Result<String, String> {
    let name = std::str::from_utf8(bytes.unwrap_or_default());
    let is_good = |name: &&str| {
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control)
    };
    let name = name.ok().filter(is_good);
    let name = name.ok_or_else(|| format!("name {}", shown(&text(bytes))))?;
    Ok(name.to_owned())
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// What a node has said, for a log.
fn shown(text: &str) -> String {
    let front: String = text.chars().take(40).collect();
    format!("{front:?}")
}

fn is(flag: Option<&[u8]>) -> bool {
    flag == Some(b"1")
}
