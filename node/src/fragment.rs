//! Fragments of key files: any `threshold` of them restore the file, and fewer reveal nothing about it.
//!
//! The file is shared byte by byte over GF(256), together with 32 random bytes before it. Every fragment has a hash of
//! these bytes and the file. The hash tells a restored file from a wrong one, and because of the random bytes it
//! reveals nothing to the holder of too few fragments. A fragment also has a check of its own, so that a damaged one is
//! named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use blahaj::{Share, Sharks};
use dispers_base::{encoding, labels};
use rand::Rng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    FileVersion,
    keyfile::{KeyFileError, read_secret, write_secret},
    rng,
};

/// Largest file that can be split, in bytes.
const MAX_FILE: usize = 1 << 20;
/// Number of random bytes before those of the file.
const BLIND: usize = 32;

/// Reasons why a file is not split, or fragments are not combined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The threshold or the number of fragments is out of range.
    #[error(
        "{threshold} of {fragments} fragments: write a threshold of at least 2, and as many fragments or more, at most 255"
    )]
    Numbers {
        /// Number of fragments needed.
        threshold: u8,
        /// Number of fragments made.
        fragments: u8,
    },
    /// The file is empty, or too large to be a key file.
    #[error("{0} is empty or larger than 1 MiB: this is no key file")]
    Size(PathBuf),
    /// The file is no fragment, or it is damaged.
    #[error("{0} is no fragment, or it is damaged: leave it out")]
    Damaged(PathBuf),
    /// The fragments are of different files or splits.
    #[error(
        "{0} and {1} are fragments of different files or of different splits: give those of one"
    )]
    Different(PathBuf, PathBuf),
    /// A fragment is given twice.
    #[error("{0} and {1} are the same fragment: give different ones")]
    Same(PathBuf, PathBuf),
    /// Too few fragments are given.
    #[error("{given} fragments are given and {needed} are needed")]
    TooFew {
        /// Number of fragments given.
        given: usize,
        /// Number of fragments needed.
        needed: usize,
    },
    /// The fragments combine to something else than the file that was split. Holds the changed fragment, if it can be
    /// found.
    #[error("the fragments do not restore the file: {}", blame(.0))]
    Wrong(Option<PathBuf>),
}

fn blame(culprit: &Option<PathBuf>) -> String {
    match culprit {
        Some(path) => format!("{} was changed; leave it out", path.display()),
        None => "at least one was changed; give one more, to find out which".into(),
    }
}

/// Content of a fragment file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Fragment {
    version: FileVersion,
    /// Name of the file that was split.
    file: String,
    /// Random id of the split, in hexadecimal.
    split: String,
    /// Number of the fragment, from 1.
    number: u8,
    threshold: u8,
    fragments: u8,
    /// Hash of the random bytes and the file, in hexadecimal.
    whole: String,
    /// Share of the random bytes and the file, in hexadecimal.
    share: String,
    /// Hash of all fields above except the version, in hexadecimal.
    check: String,
}

impl Drop for Fragment {
    fn drop(&mut self) {
        self.share.zeroize();
    }
}

impl Fragment {
    fn checksum(&self) -> String {
        let numbers = [self.number, self.threshold, self.fragments];
        hex::encode(encoding::hash(
            labels::HASH_FRAGMENT,
            &[
                self.file.as_bytes(),
                self.split.as_bytes(),
                &numbers,
                self.whole.as_bytes(),
                self.share.as_bytes(),
            ],
        ))
    }

    fn read(path: &Path) -> Result<Self, FragmentError> {
        let text = read_secret(path)?;
        FileVersion::check(&text).map_err(|source| KeyFileError::Newer {
            path: path.to_owned(),
            source,
        })?;
        let fragment: Self = toml::from_str(&text).map_err(|_| damaged(path))?;
        if fragment.checksum() != fragment.check {
            return Err(damaged(path));
        }
        Ok(fragment)
    }

    fn share(&self, path: &Path) -> Result<Share, FragmentError> {
        let bytes = Zeroizing::new(hex::decode(&self.share).map_err(|_| damaged(path))?);
        // The share has its number inside. `combine` finds repeated fragments by the outer number, so that the two must
        // agree.
        if bytes.first() != Some(&self.number) {
            return Err(damaged(path));
        }
        Share::try_from(bytes.as_slice()).map_err(|_| damaged(path))
    }

    /// Returns whether both fragments are of one split of one file.
    fn fits(&self, other: &Self) -> bool {
        self.file == other.file
            && self.split == other.split
            && self.threshold == other.threshold
            && self.fragments == other.fragments
            && self.whole == other.whole
    }

    /// Restores what was split from `shares` of this split. Returns `None` if a share is wrong.
    fn restore(&self, shares: &[Share]) -> Option<Zeroizing<Vec<u8>>> {
        let payload = Zeroizing::new(Sharks(self.threshold).recover(shares).ok()?);
        (payload.len() > BLIND && whole(&payload) == self.whole).then_some(payload)
    }
}

fn damaged(path: &Path) -> FragmentError {
    FragmentError::Damaged(path.to_owned())
}

fn whole(payload: &[u8]) -> String {
    hex::encode(encoding::hash(labels::HASH_KEY_FILE, &[payload]))
}

/// Splits a key file into `fragments`, any `threshold` of which restore it. Writes them beside the file, which stays.
///
/// # Errors
/// [`FragmentError`]. An existing fragment is never overwritten.
pub fn split(file: &Path, threshold: u8, fragments: u8) -> Result<Vec<PathBuf>, FragmentError> {
    // With a threshold of 1, every fragment would hold the whole file.
    if threshold < 2 || fragments < threshold {
        return Err(FragmentError::Numbers {
            threshold,
            fragments,
        });
    }
    let text = read_secret(file)?;
    if text.is_empty() || text.len() > MAX_FILE {
        return Err(FragmentError::Size(file.to_owned()));
    }
    let mut payload = Zeroizing::new(vec![0; BLIND + text.len()]);
    rng().fill_bytes(&mut payload[..BLIND]);
    payload[BLIND..].copy_from_slice(text.as_bytes());
    let mut split = [0; 16];
    rng().fill_bytes(&mut split);
    let name = file.file_name().and_then(|name| name.to_str());
    let shares = Sharks(threshold).dealer_rng(&payload, &mut rng());
    let mut written = Vec::new();
    for (number, share) in (1..=fragments).zip(shares) {
        let mut fragment = Fragment {
            version: FileVersion,
            file: name.unwrap_or_default().to_owned(),
            split: hex::encode(split),
            number,
            threshold,
            fragments,
            whole: whole(&payload),
            share: hex::encode(Zeroizing::new(Vec::from(&share))),
            check: String::new(),
        };
        fragment.check = fragment.checksum();
        let mut path = file.as_os_str().to_owned();
        path.push(format!(".fragment-{number}"));
        let path = PathBuf::from(path);
        let text = toml::to_string(&fragment).expect("a table of texts and numbers is TOML");
        if let Err(error) = write_secret(&path, &Zeroizing::new(text)) {
            // An incomplete split may restore nothing, and could be mistaken for a complete one.
            for path in &written {
                let _ = fs::remove_file(path);
            }
            return Err(error.into());
        }
        written.push(path);
    }
    Ok(written)
}

/// Restores a key file from at least as many fragments as the split needs.
///
/// # Errors
/// [`FragmentError`]. Nothing is written unless the fragments give exactly the file that was split.
pub fn combine(fragments: &[PathBuf], output: &Path) -> Result<(), FragmentError> {
    let read: Vec<Fragment> = fragments
        .iter()
        .map(|path| Fragment::read(path))
        .collect::<Result<_, _>>()?;
    let Some(first) = read.first() else {
        return Err(FragmentError::TooFew {
            given: 0,
            needed: 2,
        });
    };
    for (place, fragment) in read.iter().enumerate() {
        if !fragment.fits(first) {
            return Err(FragmentError::Different(
                fragments[0].clone(),
                fragments[place].clone(),
            ));
        }
        let mut earlier = read[..place].iter();
        if let Some(before) = earlier.position(|other| other.number == fragment.number) {
            return Err(FragmentError::Same(
                fragments[before].clone(),
                fragments[place].clone(),
            ));
        }
    }
    let needed = usize::from(first.threshold);
    // A changed fragment could claim a threshold below the least that `split` makes.
    if read.len() < needed || needed < 2 {
        return Err(FragmentError::TooFew {
            given: read.len(),
            needed,
        });
    }
    let shares: Vec<Share> = read
        .iter()
        .zip(fragments)
        .map(|(fragment, path)| fragment.share(path))
        .collect::<Result<_, _>>()?;
    // Shares over GF(256) combine to something even if one is wrong. Only the hash tells.
    let Some(payload) = first.restore(&shares) else {
        return Err(FragmentError::Wrong(
            culprit(first, &shares, needed).map(|place| fragments[place].clone()),
        ));
    };
    let text = String::from_utf8(payload[BLIND..].to_vec())
        .map(Zeroizing::new)
        .map_err(|_| FragmentError::Wrong(None))?;
    Ok(write_secret(output, &text)?)
}

/// Returns the position of the one share without which the others restore the file; `None` if there are not enough
/// others.
fn culprit(first: &Fragment, shares: &[Share], needed: usize) -> Option<usize> {
    if shares.len() <= needed {
        return None;
    }
    (0..shares.len()).find(|&left_out| {
        let mut others = shares.to_vec();
        others.remove(left_out);
        first.restore(&others).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_file(threshold: u8, fragments: u8) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.key");
        write_secret(&file, "signing = \"0123\"\n").unwrap();
        let paths = split(&file, threshold, fragments).unwrap();
        (folder, paths)
    }

    /// Changes a fragment and writes it with a check that fits.
    fn change(path: &Path, change: impl FnOnce(&mut Fragment)) {
        let mut fragment = Fragment::read(path).unwrap();
        change(&mut fragment);
        fragment.check = fragment.checksum();
        fs::remove_file(path).unwrap();
        write_secret(path, &toml::to_string(&fragment).unwrap()).unwrap();
    }

    #[test]
    fn any_four_of_five_restore_the_file_and_three_do_not() {
        let (folder, paths) = split_file(4, 5);
        for left_out in 0..5 {
            let mut some = paths.clone();
            some.remove(left_out);
            some.rotate_left(left_out);
            let output = folder.path().join(format!("restored-{left_out}"));
            combine(&some, &output).unwrap();
            assert_eq!(fs::read(&output).unwrap(), b"signing = \"0123\"\n");
            let refused = combine(&some[..3], &folder.path().join("x")).unwrap_err();
            assert!(matches!(
                refused,
                FragmentError::TooFew {
                    given: 3,
                    needed: 4
                }
            ));
        }
        let all = folder.path().join("all");
        combine(&paths, &all).unwrap();
        // An existing file is never overwritten.
        assert!(matches!(
            combine(&paths, &all).unwrap_err(),
            FragmentError::File(KeyFileError::Exists(_))
        ));
        assert!(split(&folder.path().join("node.key"), 4, 5).is_err());
    }

    #[test]
    fn a_damaged_fragment_is_named() {
        let (folder, paths) = split_file(2, 3);
        let output = folder.path().join("restored");
        let text = fs::read_to_string(&paths[1]).unwrap();
        for (from, to) in [("share = \"", "share = \"0"), ("number = 2", "number = 3")] {
            fs::write(&paths[1], text.replace(from, to)).unwrap();
            let refused = combine(&paths[..2], &output).unwrap_err();
            assert!(matches!(refused, FragmentError::Damaged(path) if path == paths[1]));
        }
        fs::write(&paths[1], "nothing").unwrap();
        assert!(combine(&paths[..2], &output).is_err());
        assert!(!output.exists());
    }

    #[test]
    fn a_fragment_that_was_changed_with_its_check_restores_nothing_and_is_found() {
        let (folder, paths) = split_file(3, 5);
        let output = folder.path().join("restored");
        change(&paths[2], |fragment| {
            let digit = if fragment.share.ends_with('0') {
                "1"
            } else {
                "0"
            };
            let end = fragment.share.len() - 1;
            fragment.share.replace_range(end.., digit);
        });
        let refused = combine(&paths[..3], &output).unwrap_err();
        assert!(matches!(refused, FragmentError::Wrong(None)));
        let refused = combine(&paths[..4], &output).unwrap_err();
        assert!(matches!(refused, FragmentError::Wrong(Some(path)) if path == paths[2]));
        assert!(!output.exists());
    }

    #[test]
    fn fragments_of_different_files_or_splits_or_the_same_twice_are_refused() {
        let (folder, one) = split_file(2, 3);
        let (_other, two) = split_file(2, 3);
        let output = folder.path().join("restored");
        let mixed = [one[0].clone(), two[1].clone()];
        assert!(matches!(
            combine(&mixed, &output).unwrap_err(),
            FragmentError::Different(..)
        ));
        let twice = [one[0].clone(), one[0].clone()];
        assert!(matches!(
            combine(&twice, &output).unwrap_err(),
            FragmentError::Same(..)
        ));
        assert!(matches!(
            combine(&[], &output).unwrap_err(),
            FragmentError::TooFew { .. }
        ));
    }

    #[test]
    fn senseless_numbers_and_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.key");
        write_secret(&file, "").unwrap();
        for (threshold, fragments) in [(1, 3), (0, 0), (4, 3)] {
            assert!(matches!(
                split(&file, threshold, fragments).unwrap_err(),
                FragmentError::Numbers { .. }
            ));
        }
        assert!(matches!(
            split(&file, 2, 3).unwrap_err(),
            FragmentError::Size(_)
        ));
    }

    #[test]
    fn fragments_are_readable_by_their_owner_only() {
        let (_folder, paths) = split_file(2, 3);
        #[cfg(unix)]
        for path in &paths {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
