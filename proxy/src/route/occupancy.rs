//! How many sessions each tenant and each user has, for the limits on them. Pure counting; who is counted says when he leaves.

use std::{collections::BTreeMap, fmt};

use crate::config::{ClusterKind, Settings};
use crate::session::Login;

/// Sessions that are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// Those of a cluster's tenant.
    Tenant {
        /// The tenant.
        tenant: String,
        /// The cluster that it is in.
        cluster: String,
    },
    /// Those of a user.
    User {
        /// The user.
        user: String,
        /// The tenant that he is of, where these mean something.
        tenant: Option<String>,
        /// The cluster that he is of.
        cluster: String,
    },
}

impl Group {
    /// The groups of a login: its tenant's and its user's. Where tenants are but words, a user is one whatever tenant he names.
    pub fn of(login: &Login, settings: &Settings) -> [Self; 2] {
        let cluster = settings.cluster(&login.cluster);
        let name = cluster.map_or(&login.cluster, |cluster| &cluster.name);
        let has_tenants = cluster.is_some_and(|cluster| cluster.kind == ClusterKind::OceanBase);
        [
            Self::Tenant {
                tenant: login.tenant.clone(),
                cluster: name.clone(),
            },
            Self::User {
                user: login.user.clone(),
                tenant: has_tenants.then(|| login.tenant.clone()),
                cluster: name.clone(),
            },
        ]
    }

    /// What it is a group of: `tenant` or `user`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tenant { .. } => "tenant",
            Self::User { .. } => "user",
        }
    }

    /// How many sessions it may have in these settings. None: any number.
    pub const fn limit(&self, settings: &Settings) -> Option<u32> {
        match self {
            Self::Tenant { .. } => settings.max_tenant_connections,
            Self::User { .. } => settings.max_user_connections,
        }
    }
}

/// As in a login: `tenant#cluster`, `user@tenant#cluster`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant { tenant, cluster } => write!(f, "{tenant}#{cluster}"),
            Self::User {
                user,
                tenant: Some(tenant),
                cluster,
            } => write!(f, "{user}@{tenant}#{cluster}"),
            Self::User {
                user,
                tenant: None,
                cluster,
            } => write!(f, "{user}#{cluster}"),
        }
    }
}

/// How many sessions each group has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Occupancy {
    counts: BTreeMap<Group, u64>,
    /// Logins that were refused for a tenant's limit.
    pub refused_for_tenant: u64,
    /// Logins that were refused for a user's limit.
    pub refused_for_user: u64,
}

impl Occupancy {
    /// The first of these groups that has no place left.
    pub fn full<'a>(&self, groups: &'a [Group], settings: &Settings) -> Option<&'a Group> {
        groups.iter().find(|group| {
            let limit = group.limit(settings);
            limit.is_some_and(|limit| self.count(group) >= u64::from(limit))
        })
    }

    /// A session enters these groups.
    pub fn enter(&mut self, groups: &[Group]) {
        for group in groups {
            *self.counts.entry(group.clone()).or_default() += 1;
        }
    }

    /// A session leaves a group that it has entered.
    pub fn leave(&mut self, group: &Group) {
        if let Some(count) = self.counts.get_mut(group) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(group);
            }
        }
    }

    /// A login was refused because this group is full.
    pub const fn refused(&mut self, group: &Group) {
        match group {
            Group::Tenant { .. } => self.refused_for_tenant += 1,
            Group::User { .. } => self.refused_for_user += 1,
        }
    }

    /// How many sessions a group has.
    pub fn count(&self, group: &Group) -> u64 {
        self.counts.get(group).copied().unwrap_or_default()
    }

    /// How many sessions there are of all tenants.
    pub fn total(&self) -> u64 {
        let tenants = self
            .iter()
            .filter(|(group, _)| matches!(group, Group::Tenant { .. }));
        tenants.map(|(_, count)| count).sum()
    }

    /// The groups that have sessions, tenants first.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, u64)> {
        self.counts.iter().map(|(group, &count)| (group, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, settings};

    fn login(user: &str, tenant: &str, cluster: &str) -> Login {
        Login {
            user: user.to_owned(),
            tenant: tenant.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    fn two() -> Settings {
        let text = r#"
            max_tenant_connections = 3
            max_user_connections = 2
            [[cluster]]
            name = "ob"
            kind = "oceanbase"
            nodes = ["a:1"]
            [[cluster]]
            name = "my"
            kind = "mysql"
            nodes = ["b:1"]
        "#;
        settings(text, Overrides::default()).unwrap()
    }

    #[test]
    fn who_is_counted_with_whom() {
        let settings = two();
        let names = |user, tenant, cluster| {
            Group::of(&login(user, tenant, cluster), &settings).map(|group| group.to_string())
        };
        assert_eq!(names("app", "shop", "ob"), ["shop#ob", "app@shop#ob"]);
        assert_eq!(names("app", "shop", "my"), ["shop#my", "app#my"]);
        let one = crate::config::settings("server = \"a:1\"", Overrides::default());
        let one = one.unwrap();
        let any = Group::of(&login("app", "sys", "whatever"), &one);
        assert_eq!(
            any.map(|group| group.to_string()),
            ["sys#default", "app#default"]
        );
    }

    #[test]
    fn a_group_is_full_at_its_limit_and_forgotten_when_empty() {
        let mut settings = two();
        let mut occupancy = Occupancy::default();
        let app = Group::of(&login("app", "shop", "ob"), &settings);
        let other = Group::of(&login("other", "shop", "ob"), &settings);
        occupancy.enter(&app);
        assert_eq!(occupancy.full(&app, &settings), None);
        occupancy.enter(&app);
        assert_eq!(occupancy.full(&app, &settings), Some(&app[1]));
        assert_eq!(occupancy.full(&other, &settings), None);
        occupancy.enter(&other);
        assert_eq!(occupancy.total(), 3);
        assert_eq!(occupancy.full(&other, &settings), Some(&other[0]));
        // A limit that is raised holds at once, and one that is lowered ends nobody.
        settings.max_tenant_connections = None;
        assert_eq!(occupancy.full(&other, &settings), None);
        settings.max_user_connections = Some(1);
        assert_eq!(occupancy.full(&other, &settings), Some(&other[1]));
        for group in app.iter().chain(&app).chain(&other) {
            occupancy.leave(group);
        }
        assert_eq!(occupancy, Occupancy::default());
    }
}
