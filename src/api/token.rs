//! The bearer token of the API (RFC 6750). Main reads it and forks every worker, so no process remembers more than its
//! hash: a worker that was taken over cannot show the token to the API. A word that can be guessed can be found by its hash.

use std::io;
use std::path::Path;

use daemon_utils::state_file;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// As much of the token's file as is read, in bytes.
const FILE_BYTES: u64 = 64 * 1024;

/// What is remembered of a token: its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token([u8; 32]);

impl Token {
    /// Reads the first line of a file, without space around it; none where that is empty. Errors: as
    /// [`state_file::read_regular`].
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = Zeroizing::new(state_file::read_regular(path, FILE_BYTES)?);
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        Ok((!line.is_empty()).then(|| Self::of(line)))
    }

    /// What is remembered of these bytes.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether this is the token, in the same time whatever it has in common with it.
    pub fn is(&self, given: &[u8]) -> bool {
        Self::of(given).0.ct_eq(&self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_of_the_file_is_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, token) in
            [("secret", "secret"), (" se cret \r\nnot this\n", "se cret"), ("secret\n", "secret")]
        {
            std::fs::write(&path, text).unwrap();
            let read = Token::read(&path).unwrap().unwrap();
            assert!(read.is(token.as_bytes()), "{text:?}");
            assert!(
                !read.is(b"secre") && !read.is(b"") && !read.is(text.to_uppercase().as_bytes()),
                "{text:?}"
            );
        }
        for text in ["", "\n", "  \nsecret\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Token::read(&path).unwrap(), None, "{text:?}");
        }
    }
}
