//! From a login to a cluster, what is known of its nodes ([`health`]), which says in which order they are tried, which one gets the writes ([`writer`]) and
//! which of them take reads ([`reader`], [`load`]), and how many sessions there are of whom ([`occupancy`]).

pub mod discovery;
pub mod health;
pub mod load;
pub mod occupancy;
pub mod reader;
pub mod writer;

use crate::config::{Cluster, Settings};
use crate::session::{Login, PROXY_TENANT};

/// Why a login goes nowhere. The texts are for the client and hold nothing that it has not said itself.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    /// No cluster has this name.
    #[error("Unknown cluster '{0}'")]
    UnknownCluster(String),
    /// The cluster has no such tenant, or none that may log in here.
    #[error("Unknown tenant '{tenant}' in cluster '{cluster}'")]
    UnknownTenant {
        /// What the client asked for.
        tenant: String,
        /// In which cluster.
        cluster: String,
    },
}

/// The cluster that a login means whose defaults are filled in.
///
/// # Errors
/// [`RouteError`]: nothing was dialled.
pub fn route<'a>(settings: &'a Settings, login: &Login) -> Result<&'a Cluster, RouteError> {
    let unknown_cluster = || RouteError::UnknownCluster(login.cluster.clone());
    let cluster = settings
        .cluster_of(&login.cluster, &login.tenant)
        .ok_or_else(unknown_cluster)?;
    // The proxy's own tenant stands above all others: no node's password may open it.
    let is_allowed = login.tenant != PROXY_TENANT
        && (cluster.tenants.is_empty() || cluster.tenants.contains(&login.tenant));
    if !is_allowed {
        return Err(RouteError::UnknownTenant {
            tenant: login.tenant.clone(),
            cluster: login.cluster.clone(),
        });
    }
    Ok(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, settings};

    fn login(tenant: &str, cluster: &str) -> Login {
        Login {
            user: "app".to_owned(),
            tenant: tenant.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    fn answer(settings: &Settings, tenant: &str, cluster: &str) -> String {
        match route(settings, &login(tenant, cluster)) {
            Ok(cluster) => cluster.nodes[0].to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_login_goes_to_its_cluster() {
        let text = r#"
            [[cluster]]
            name = "east"
            kind = "oceanbase"
            tenants = ["sys", "shop"]
            nodes = ["a:2881", "b:2881"]
            [[cluster]]
            name = "west"
            kind = "mysql"
            nodes = ["c:3306"]
            [[cluster]]
            name = "west:2"
            kind = "mysql"
            nodes = ["d:3306"]
        "#;
        let settings = settings(text, Overrides::default()).unwrap();
        for (tenant, cluster, expected) in [
            ("shop", "east", "a:2881"),
            ("any", "west", "c:3306"),
            ("any", "west:2", "d:3306"),
            ("any", "west:3", "Unknown cluster 'west:3'"),
            ("bank", "east", "Unknown tenant 'bank' in cluster 'east'"),
            ("Shop", "east", "Unknown tenant 'Shop' in cluster 'east'"),
            ("sys", "north", "Unknown cluster 'north'"),
            (
                "proxysys",
                "west",
                "Unknown tenant 'proxysys' in cluster 'west'",
            ),
        ] {
            assert_eq!(answer(&settings, tenant, cluster), expected);
        }
    }

    #[test]
    fn a_single_server_takes_every_name() {
        let settings = settings("server = \"a:3306\"", Overrides::default()).unwrap();
        assert_eq!(answer(&settings, "shop", "east"), "a:3306");
        assert_eq!(answer(&settings, "sys", "default"), "a:3306");
        assert!(answer(&settings, "proxysys", "default").starts_with("Unknown tenant"));
    }
}
