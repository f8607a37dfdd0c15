//! The SSH keys of one run: who the guest is, and who may log in.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use openssl::bn::BigNumRef;
use openssl::rsa::Rsa;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use ssh_key::private::{Ed25519Keypair, KeypairData, PrivateKey};
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{LineEnding, Mpint, PublicKey};

use super::Error;

/// Name of the key type on the wire (RFC 8709).
const ALGORITHM: &[u8] = b"ssh-ed25519";

/// Files in which the private keys are kept: the host's in OpenSSH's format, the user's in PEM.
const HOST_FILE: &str = "host";
const USER_FILE: &str = "user";

/// Bits of the user's RSA key; dropbear and OpenSSH take no less than 1024, everybody advises 2048.
const USER_BITS: u32 = 2048;

/// Two fresh key pairs: the guest's ed25519 host key, which the client pins, and the user's, which alone may log in.
///
/// The user's is made when it is first asked for: it takes a tenth of a second, and a run whose rounds are all clones of saved
/// guests logs in with the keys that were saved with them.
///
/// The user's is an RSA key because the guest checks its signature, in software emulation as often as not: of the 63 million
/// instructions that a login cost dropbear 2022.83 with an ed25519 key there, 27 million were this check; with an RSA key it is one
/// short power (`valgrind --tool=callgrind dropbear -F`).
pub struct Keys {
    host: Ed25519Keypair,
    user: Arc<OnceLock<User>>,
}

/// The user's pair, in the formats that it is needed in.
struct User {
    private_pem: String,
    authorized_line: String,
}

impl User {
    fn generate() -> Result<Self, Error> {
        let pem = Rsa::generate(USER_BITS).and_then(|pair| pair.private_key_to_pem()).map_err(wrong)?;
        Self::from_pem(String::from_utf8(pem).map_err(wrong)?)
    }

    fn from_pem(private_pem: String) -> Result<Self, Error> {
        let pair = Rsa::private_key_from_pem(private_pem.as_bytes()).map_err(wrong)?;
        let number = |number: &BigNumRef| Mpint::from_positive_bytes(&number.to_vec()).map_err(wrong);
        let public = RsaPublicKey { e: number(pair.e())?, n: number(pair.n())? };
        let authorized_line = PublicKey::new(KeyData::Rsa(public), "twinboot").to_openssh().map_err(wrong)?;
        Ok(Self { private_pem, authorized_line })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.get().map(|user| &user.authorized_line);
        to.debug_struct("Keys").field("user", &user).finish_non_exhaustive()
    }
}

impl Keys {
    /// Pairs from the system's random numbers (getrandom(2)).
    pub fn generate() -> Result<Self, Error> {
        Ok(Self { host: pair()?, user: Arc::default() })
    }

    /// The keys of another guest, with a host key of its own, that the same user may log in to.
    pub(crate) fn of_another_guest(&self) -> Result<Self, Error> {
        Ok(Self { host: pair()?, user: self.user.clone() })
    }

    fn user(&self) -> Result<&User, Error> {
        if let Some(user) = self.user.get() {
            return Ok(user);
        }
        // Two that ask for it at once may both make one; the first to be done is everybody's.
        let user = User::generate()?;
        Ok(self.user.get_or_init(|| user))
    }

    /// Writes both private keys into `dir`, for [`Keys::load`], as files that only this user may read.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), Error> {
        let host = PrivateKey::new(KeypairData::from(self.host.clone()), "guest").map_err(wrong)?;
        let host = host.to_openssh(LineEnding::LF).map_err(wrong)?;
        for (name, text) in [(HOST_FILE, host.as_str()), (USER_FILE, self.user_private_pem()?)] {
            let path = dir.join(name);
            let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|source| Error::Io { action: "write", path, source })?;
        }
        Ok(())
    }

    /// Reads what [`Keys::store`] wrote.
    pub(crate) fn load(dir: &Path) -> Result<Self, Error> {
        let read = |name| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| Error::Io { action: "read", path, source })
        };
        let host = PrivateKey::from_openssh(read(HOST_FILE)?).map_err(wrong)?;
        let host = host.key_data().ed25519().ok_or_else(|| wrong("the host key is not ed25519"))?.clone();
        let user = User::from_pem(read(USER_FILE)?)?;
        Ok(Self { host, user: Arc::new(OnceLock::from(user)) })
    }

    /// The user's private key as an unencrypted PEM text (PKCS #1), which libssh2 and OpenSSH read alike.
    pub fn user_private_pem(&self) -> Result<&str, Error> {
        Ok(&self.user()?.private_pem)
    }

    /// The user's public key as a line of `authorized_keys`, without the newline.
    pub fn user_authorized_line(&self) -> Result<&str, Error> {
        Ok(&self.user()?.authorized_line)
    }

    /// The host's public key in SSH wire format: `string "ssh-ed25519"`, `string` of 32 bytes (RFC 8709, section 4).
    pub fn host_public_blob(&self) -> Vec<u8> {
        [string(ALGORITHM), string(&self.host.public.0)].concat()
    }

    /// The host's public key as `known_hosts` has it behind the host's name (sshd(8)): algorithm and base64.
    pub fn host_public_line(&self) -> Result<String, Error> {
        PublicKey::from_bytes(&self.host_public_blob()).and_then(|key| key.to_openssh()).map_err(wrong)
    }

    /// The host's private key as dropbear stores it: `string "ssh-ed25519"`, `string` of the 32-byte seed and the
    /// 32-byte public key.
    pub(super) fn host_dropbear(&self) -> Vec<u8> {
        let pair = [self.host.private.to_bytes(), self.host.public.0].concat();
        [string(ALGORITHM), string(&pair)].concat()
    }
}

fn wrong(reason: impl fmt::Display) -> Error {
    Error::Key(reason.to_string())
}

fn pair() -> Result<Ed25519Keypair, Error> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(|error| Error::Key(error.to_string()))?;
    Ok(Ed25519Keypair::from_seed(&seed))
}

/// An SSH `string`: its length in four bytes, big-endian, then its bytes (RFC 4251, section 5).
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_users_texts_belong_together() {
        let keys = Keys::generate().expect("random bytes");
        let private =
            Rsa::private_key_from_pem(keys.user_private_pem().expect("a pair").as_bytes()).expect("a PEM key");
        let public = PublicKey::from_openssh(keys.user_authorized_line().expect("a pair")).expect("a line");
        let public = public.key_data().rsa().expect("an RSA key");
        assert_eq!(public.n.as_positive_bytes().expect("positive"), private.n().to_vec());
        assert!(!format!("{keys:?}").contains("PRIVATE"));
        let other = Keys::generate().expect("random bytes");
        assert_ne!(other.host_public_blob(), keys.host_public_blob());
        assert_ne!(other.user_authorized_line().expect("a pair"), keys.user_authorized_line().expect("a pair"));
    }

    #[test]
    fn the_same_user_may_log_in_to_another_guest_that_is_not_taken_for_the_first() {
        let keys = Keys::generate().expect("random bytes");
        let other = keys.of_another_guest().expect("random bytes");
        assert_ne!(other.host_public_blob(), keys.host_public_blob());
        // Whichever of the two needs the user's pair first.
        assert_eq!(other.user_private_pem().expect("a pair"), keys.user_private_pem().expect("a pair"));
    }

    #[test]
    fn stored_keys_are_private_and_come_back_whole() {
        let (keys, dir) = (Keys::generate().expect("random bytes"), tempfile::tempdir().expect("a scratch folder"));
        keys.store(dir.path()).expect("writes");
        let again = Keys::load(dir.path()).expect("reads back");
        assert_eq!(again.host_dropbear(), keys.host_dropbear());
        assert_eq!(again.user_authorized_line().expect("a pair"), keys.user_authorized_line().expect("a pair"));
        for file in [HOST_FILE, USER_FILE] {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(dir.path().join(file).metadata().expect("is there").mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_blob_is_what_the_wire_carries() {
        let keys = Keys::generate().expect("random bytes");
        let blob = keys.host_public_blob();
        assert_eq!((&blob[..4], &blob[4..15], &blob[15..19]), (&[0, 0, 0, 11][..], ALGORITHM, &[0, 0, 0, 32][..]));
        let parsed = PublicKey::from_bytes(&blob).expect("a public key");
        assert_eq!(parsed.key_data().ed25519().expect("of this kind").0, keys.host.public.0);
    }

    #[test]
    fn dropbear_reads_the_host_key_and_sees_the_same_public_one() {
        let keys = Keys::generate().expect("random bytes");
        let dir = tempfile::tempdir().expect("a scratch folder");
        let file = dir.path().join("host_ed25519");
        std::fs::write(&file, keys.host_dropbear()).expect("writes");
        let output = match Command::new("dropbearkey").arg("-y").arg("-f").arg(&file).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            output => output.expect("dropbearkey runs"),
        };
        let said = String::from_utf8(output.stdout).expect("text");
        let line = said.lines().find(|line| line.starts_with("ssh-ed25519 ")).expect("a public key");
        let public = PublicKey::from_openssh(line).expect("a line of OpenSSH's kind");
        assert_eq!(public.to_bytes().expect("encodes"), keys.host_public_blob());
    }
}
