//! The way in for the proxy's own users: the proxy has their password, so it verifies them itself. What a refusal is about goes into the
//! log alone; the client is told what every server says.

use std::{fs, io::Read, net::IpAddr, path::Path, sync::Arc};

use super::{Failure, Refusal, client_failure};
use crate::{
    config::AdminPassword,
    node::{LegError, LoginLeg},
    protocol::{
        auth::{AuthSwitchRequest, MORE_DATA},
        error::MysqlError,
        handshake::Greeting,
        reply::OkPacket,
    },
    session::{
        auth_exchange::{Request, Scramble},
        login_end::LoginReason,
        login_name::LoginName,
        proxy_login::{ProxyUser, accepts, has_fast_path, is_private, plugin_to_ask},
    },
    worker::{Process, greeting},
};

/// The longest password that is read from a file, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;
/// Wrong passwords in a row that have no consequence.
const FREE_FAILURES: u32 = 3;
/// Second byte of `caching_sha2_password`'s "the fast path was enough".
const FAST_PATH: u8 = 0x03;
/// The status of these sessions: `SERVER_STATUS_AUTOCOMMIT`.
pub(in crate::worker) const STATUS: u16 = 0x0002;

/// A door that one of the proxy's own users may try to open.
pub(in crate::worker) struct ProxyDoor {
    process: Arc<Process>,
    user: ProxyUser,
    /// As the client typed it.
    name: String,
    address: IpAddr,
    password: String,
}

impl ProxyDoor {
    /// The door for a login of the proxy's tenant from this address.
    ///
    /// # Errors
    /// Error 1045: there is no such user, no password is configured or can be read, the address is not private, or too many wrong passwords
    /// came from it.
    pub(in crate::worker) async fn find(
        process: &Arc<Process>,
        name: &LoginName,
        address: IpAddr,
    ) -> Result<Self, Refusal> {
        let user = ProxyUser::of(name);
        let name = String::from_utf8_lossy(&name.full).into_owned();
        let deny = |detail: String| denied(&name, address, detail);
        let user = user.ok_or_else(|| deny("the proxy has no such user".to_owned()))?;
        if !is_private(address) {
            return Err(deny(format!("{address} is not a private address")));
        }
        let password = match &process.settings().admin {
            None => return Err(deny("no admin.password is configured".to_owned())),
            Some(admin) => admin_password(admin).await.map_err(deny)?,
        };
        Ok(Self {
            process: Arc::clone(process),
            user,
            name,
            address,
            password,
        })
    }

    /// The dialogue with a client whose login packet answers `greeting`, or does not.
    pub(super) async fn pass(
        self,
        client: &mut LoginLeg<'_>,
        request: &Request,
        greeting: &Greeting,
    ) -> Result<ProxyUser, Failure> {
        let (asked, answer) = match plugin_to_ask(&request.packet, &greeting.plugin) {
            None => {
                let asked = Scramble {
                    plugin: greeting.plugin.clone(),
                    scramble: greeting.scramble.clone(),
                };
                (asked, request.packet.auth.clone())
            }
            Some(plugin) => {
                let scramble = greeting::scramble().ok_or_else(|| {
                    Failure::new(LoginReason::ProxyRefused).detail("no random numbers")
                })?;
                let asked = Scramble { plugin, scramble };
                let data = [&asked.scramble[..], b"\0"].concat().into();
                let switch = AuthSwitchRequest {
                    plugin: asked.plugin.clone(),
                    data,
                };
                say(client, &switch.encode()).await?;
                let answer = client
                    .read()
                    .await
                    .map_err(|error| client_failure(&error))?;
                (asked, answer)
            }
        };
        self.verify(&asked, &answer)?;
        if has_fast_path(&asked.plugin) {
            say(client, &[MORE_DATA, FAST_PATH]).await?;
        }
        let ok = OkPacket {
            status: STATUS,
            ..OkPacket::default()
        };
        client.hold(&ok.encode(request.agreed));
        Ok(self.user)
    }

    /// Compares, and keeps count of who guesses. Nobody else gets in between the two.
    fn verify(&self, asked: &Scramble, answer: &[u8]) -> Result<(), Refusal> {
        let now = self.process.uptime();
        let mut back_off = self.process.back_off();
        let wait = back_off.wait(self.address, "", FREE_FAILURES, now);
        let deny = |detail: String| Err(denied(&self.name, self.address, detail));
        if !wait.is_zero() {
            return deny(format!(
                "too many wrong passwords from {}: {} s to wait",
                self.address,
                wait.as_secs() + 1
            ));
        }
        if accepts(&self.password, asked, answer) {
            back_off.succeeded(self.address, "");
            return Ok(());
        }
        back_off.failed(self.address, "", now);
        deny("wrong password".to_owned())
    }
}

async fn say(client: &mut LoginLeg<'_>, payload: &[u8]) -> Result<(), Failure> {
    client
        .write(payload)
        .await
        .map_err(|error| client_failure(&LegError::Io(error)))
}

fn denied(name: &str, address: IpAddr, detail: String) -> Refusal {
    Refusal {
        error: MysqlError::access_denied(name, &address.to_string(), true),
        reason: LoginReason::ProxyRefused,
        detail: Some(detail),
    }
}

/// The password of the proxy's own users.
///
/// # Errors
/// Why the file that holds it cannot be read.
pub(in crate::worker) async fn admin_password(admin: &AdminPassword) -> Result<String, String> {
    match admin {
        AdminPassword::Text(password) => Ok(password.expose().to_owned()),
        AdminPassword::File(path) => {
            let path = path.clone();
            // A file may lie on a file system that takes its time.
            let read = tokio::task::spawn_blocking(move || read_password(&path)).await;
            let read = read.unwrap_or_else(|failed| Err(failed.to_string()));
            read.map_err(|failed| format!("admin.password_file: {failed}"))
        }
    }
}

/// The text of a file, without the line's end behind it.
fn read_password(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(PASSWORD_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let password = text.trim_end_matches(['\n', '\r']);
    match password.len() as u64 {
        0 => Err("is empty".to_owned()),
        1..=PASSWORD_BYTES_MAX => Ok(password.to_owned()),
        _ => Err(format!("holds more than {PASSWORD_BYTES_MAX} bytes")),
    }
}
