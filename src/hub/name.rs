//! Names of models on the Hub.

use std::fmt;

/// `owner/name[@revision]`, or `owner/name/file.gguf[@revision]` for a model in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit; `main` unless it was named.
    pub revision: String,
    /// The `.gguf` file.
    pub file: Option<String>,
}

impl HubModel {
    /// Reads a name; `None` for what cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, revision) = text.split_once('@').unwrap_or((text, "main"));
        let mut parts = path.splitn(3, '/');
        let (owner, name) = (parts.next()?, parts.next()?);
        let file = parts.next().map(str::to_owned);
        let is_gguf = |file: &String| is_file_name(file) && file.to_ascii_lowercase().ends_with(".gguf");
        if !is_word(owner) || !is_word(name) || !is_file_name(revision) || !file.as_ref().is_none_or(is_gguf)
        {
            return None;
        }
        Some(Self { repo: format!("{owner}/{name}"), revision: revision.to_owned(), file })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

/// What a part of a name may be: it is a part of a path on the disk and of an address alike.
pub(super) fn is_word(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.bytes().all(is_letter)
}

/// Words with slashes between them.
pub(super) fn is_file_name(text: &str) -> bool {
    text.split('/').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let parse = |text| HubModel::parse(text).map(|m| (m.repo, m.revision, m.file));
        let name = |repo: &str, revision: &str, file: Option<&str>| {
            Some((repo.to_owned(), revision.to_owned(), file.map(str::to_owned)))
        };
        assert_eq!(parse("a/b-1.5"), name("a/b-1.5", "main", None));
        assert_eq!(parse("a/b@refs/pr/1"), name("a/b", "refs/pr/1", None));
        assert_eq!(parse("a/b/c-Q4_K.gguf@v1"), name("a/b", "v1", Some("c-Q4_K.gguf")));
        assert_eq!(parse("a/b/c/d.GGUF"), name("a/b", "main", Some("c/d.GGUF")));
        for path in [
            "demo", "/a/b", "./a/b", "../b", "a/", "a/..", "a/b/c", "a/b/", "a/b@", "a/b@../x", "a\\b/c",
            "C:/b",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
