//! The login's user name: who, in which tenant, of which cluster (odp.md, section 6.1).

use std::fmt;

use bytes::Bytes;

/// How user names are read.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The tenant of a name that has none.
    pub tenant: &'a str,
    /// The cluster of a name that has none.
    pub cluster: &'a str,
    /// What may separate the parts of `cluster:tenant:user`. ODP's default also has `-` and `.`, which are common inside of
    /// the user names of `MySQL`: [`SEPARATORS`] leaves them to the configuration.
    pub separators: &'a [u8],
}

/// The separators of `cluster:tenant:user` unless configured otherwise.
pub const SEPARATORS: &[u8] = b":";
/// The tenant that ODP assumes.
pub const TENANT: &str = "sys";
/// The cluster's name where none is configured.
pub const CLUSTER: &str = "default";

impl Default for Rules<'_> {
    fn default() -> Self {
        Self {
            tenant: TENANT,
            cluster: CLUSTER,
            separators: SEPARATORS,
        }
    }
}

/// A login's user name, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoginName {
    /// The name as the client sent it.
    pub full: Bytes,
    /// The bare user name: what a node of kind `mysql` is given. Bytes, as it is in the connection's character set.
    pub user: Bytes,
    /// The tenant, typed or assumed.
    pub tenant: String,
    /// The cluster, typed or assumed; behind it `:id`, where the name asks for one member of a primary and standby set.
    pub cluster: String,
}

impl LoginName {
    /// Takes a user name apart: `user@tenant#cluster[:id]` with either part left out, else `cluster:tenant:user[:id]`, else a
    /// bare name. The last `@` and the last `#` count, so that a user name may hold both; an empty part is one left out.
    pub fn parse(full: &Bytes, rules: Rules<'_>) -> Self {
        let parts = standard(full)
            .or_else(|| colons(full, rules.separators))
            .unwrap_or(Parts {
                user: full,
                tenant: b"",
                cluster: b"",
                cluster_id: None,
            });
        let or_default = |part: &[u8], default: &str| match part {
            b"" => default.to_owned(),
            _ => String::from_utf8_lossy(part).into_owned(),
        };
        Self {
            full: full.clone(),
            user: full.slice_ref(parts.user),
            tenant: or_default(parts.tenant, rules.tenant),
            cluster: match parts.cluster_id {
                Some(id) => format!("{}:{id}", or_default(parts.cluster, rules.cluster)),
                None => or_default(parts.cluster, rules.cluster),
            },
        }
    }

    /// `user@tenant`: what a node of kind `oceanbase` is given. It refuses a cluster's name.
    pub fn user_at_tenant(&self) -> Bytes {
        [&self.user[..], b"@", self.tenant.as_bytes()]
            .concat()
            .into()
    }

    /// The bare user name for logs and answers.
    pub fn user_lossy(&self) -> String {
        String::from_utf8_lossy(&self.user).into_owned()
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}#{}",
            String::from_utf8_lossy(&self.user),
            self.tenant,
            self.cluster
        )
    }
}

struct Parts<'a> {
    user: &'a [u8],
    tenant: &'a [u8],
    cluster: &'a [u8],
    cluster_id: Option<u64>,
}

/// `user@tenant#cluster[:id]`, `None` for a name with neither `@` nor `#`.
fn standard(full: &[u8]) -> Option<Parts<'_>> {
    let (before, mut cluster) = match rsplit(full, b'#') {
        // A `#` before the `@` belongs to the user name.
        Some((before, cluster)) if !cluster.contains(&b'@') => (before, cluster),
        _ => (full, &b""[..]),
    };
    let (user, tenant) = rsplit(before, b'@').unwrap_or((before, b""));
    if user.len() == full.len() {
        return None;
    }
    let mut cluster_id = None;
    if let Some((name, id)) = rsplit(cluster, b':').and_then(|(name, id)| Some((name, number(id)?)))
    {
        (cluster, cluster_id) = (name, Some(id));
    }
    Some(Parts {
        user,
        tenant,
        cluster,
        cluster_id,
    })
}

/// `cluster:tenant:user[:id]`, `None` for a name with fewer than two separators.
fn colons<'a>(full: &'a [u8], separators: &[u8]) -> Option<Parts<'a>> {
    let mut parts = full.splitn(3, |byte| separators.contains(byte));
    let (cluster, tenant, mut user) = (parts.next()?, parts.next()?, parts.next()?);
    let mut cluster_id = None;
    if let Some(at) = user.iter().rposition(|byte| separators.contains(byte))
        && let (name, [_, id @ ..]) = user.split_at(at)
        && let Some(id) = number(id)
    {
        (user, cluster_id) = (name, Some(id));
    }
    Some(Parts {
        user,
        tenant,
        cluster,
        cluster_id,
    })
}

/// What is before and after the last `separator`.
fn rsplit(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().rposition(|&byte| byte == separator)?;
    let (before, after) = bytes.split_at(at);
    Some((before, after.split_first()?.1))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(full: &'static str) -> LoginName {
        LoginName::parse(&Bytes::from_static(full.as_bytes()), Rules::default())
    }

    #[test]
    fn the_forms_of_odp() {
        for (full, user, tenant, cluster) in [
            ("root", "root", "sys", "default"),
            ("root@t1", "root", "t1", "default"),
            ("root#c1", "root", "sys", "c1"),
            ("root@t1#c1", "root", "t1", "c1"),
            ("root@t1#c1:3", "root", "t1", "c1:3"),
            ("root@t1#c1:03", "root", "t1", "c1:3"),
            ("root@t1#:3", "root", "t1", "default:3"),
            ("root@t1#c1:x", "root", "t1", "c1:x"),
            ("root@proxysys", "root", "proxysys", "default"),
            // The last separators count.
            ("me@example.com@t1#c1", "me@example.com", "t1", "c1"),
            ("a#b@t1#c1", "a#b", "t1", "c1"),
            ("a#b@t1", "a#b", "t1", "default"),
            ("c1:t1:root", "root", "t1", "c1"),
            ("c1:t1:root:3", "root", "t1", "c1:3"),
            ("c1:t1:ro:ot", "ro:ot", "t1", "c1"),
            // One separator is part of a user name, and so are those that are not configured.
            ("a:b", "a:b", "sys", "default"),
            ("my-app-user", "my-app-user", "sys", "default"),
            // Empty parts are parts left out.
            ("", "", "sys", "default"),
            ("@", "", "sys", "default"),
            ("root@#", "root", "sys", "default"),
            ("::root", "root", "sys", "default"),
        ] {
            let name = parse(full);
            assert_eq!(
                (&name.user[..], name.tenant.as_str(), name.cluster.as_str()),
                (user.as_bytes(), tenant, cluster),
                "{full}"
            );
        }
    }

    #[test]
    fn configured_separators_are_used() {
        let rules = Rules {
            tenant: "t",
            cluster: "c",
            separators: b":-",
        };
        let name = LoginName::parse(&Bytes::from_static(b"c1-t1-root"), rules);
        assert_eq!(name.to_string(), "root@t1#c1");
        assert_eq!(&name.user_at_tenant()[..], b"root@t1");
        assert_eq!(
            LoginName::parse(&Bytes::from_static(b"root"), rules).to_string(),
            "root@t#c"
        );
    }

    proptest! {
        #[test]
        fn what_is_put_together_comes_apart(user in "[a-z@#:]{0,9}", tenant in "[a-z]{1,9}", cluster in "[a-z]{1,9}") {
            let full = Bytes::from(format!("{user}@{tenant}#{cluster}"));
            let name = LoginName::parse(&full, Rules::default());
            prop_assert_eq!(name.user_lossy(), user);
            prop_assert_eq!((name.tenant, name.cluster), (tenant, cluster));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = LoginName::parse(&Bytes::from(bytes), Rules::default());
        }
    }
}
