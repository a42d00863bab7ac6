//! Requests to the Hub: addresses, redirects, the token, and what its refusals mean.

use std::io::ErrorKind as IoKind;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::{HubModel, OnProgress, Progress, cache, env, io, is_true, name};
use crate::error::{Error, Result};

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest silence of a server.
const SILENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;
/// Tries in a row that bring nothing before it is given up.
pub(super) const TRIES: u32 = 5;
/// The wait after the first failed try; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What the Hub says of a file.
pub(super) struct Found {
    /// The commit that the revision stands for.
    pub(super) commit: String,
    /// Names the content in the cache.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
}

/// Why a request failed.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The server was not reached, was overloaded or broke off: the same request may succeed later.
    pub(super) unreachable: bool,
    /// No server is there: the next moment will not bring one.
    refused: bool,
    /// How long the server asks to wait.
    wait: Option<Duration>,
}

impl Failure {
    pub(super) fn fatal(error: Error) -> Self {
        Self { error, unreachable: false, refused: false, wait: None }
    }

    /// The error, which names the model where it is of the connection alone.
    pub(super) fn of(self, model: &HubModel) -> Error {
        if self.unreachable { self.error.context(model) } else { self.error }
    }

    pub(super) fn broken(error: Error) -> Self {
        Self { error, unreachable: true, refused: false, wait: None }
    }
}

pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn from_env() -> Result<Self> {
        let endpoint = env("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if origin(&endpoint).is_none() {
            return Err(Error::config(format!(
                "HF_ENDPOINT is \"{endpoint}\"; expected an address such as {ENDPOINT}"
            )));
        }
        let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .user_agent(concat!("postil/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .http_status_as_error(false)
            // Followed here: the token must not go to another server.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .into();
        Ok(Self { agent, endpoint, token: token() })
    }

    fn address(&self, repo: &str, revision: &str, name: &str) -> String {
        // A revision is one part of the path; every other letter of these names stands for itself.
        format!("{}/{repo}/resolve/{}/{name}", self.endpoint, revision.replace('/', "%2F"))
    }

    /// What there is under a name; `None` when the commit has no such file.
    pub(super) fn look(
        &self,
        repo: &str,
        revision: &str,
        name: &str,
        on: OnProgress<'_>,
    ) -> Result<Option<Found>, Failure> {
        let mut failed = 0;
        loop {
            match self.try_look(repo, revision, name) {
                Err(failure) if failure.unreachable => {
                    failed += 1;
                    self.wait(failed, failure, on)?;
                }
                other => return other,
            }
        }
    }

    fn try_look(&self, repo: &str, revision: &str, name: &str) -> Result<Option<Found>, Failure> {
        let mut url = self.address(repo, revision, name);
        let (mut commit, mut etag, mut size) = (None, None, None);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(&url, None, true)?;
            let (status, headers) = (response.status(), response.headers());
            // Mirrors may not say what it is that they do not have.
            let is_absent = |code: Option<&str>| code.is_none_or(|code| code == "EntryNotFound");
            if status == StatusCode::NOT_FOUND && is_absent(header(headers, "x-error-code")) {
                return Ok(None);
            }
            if !status.is_success() && !status.is_redirection() {
                return Err(self.refusal(&response, repo, revision, name));
            }
            commit = commit.or_else(|| header(headers, "x-repo-commit").map(str::to_owned));
            etag = etag.or_else(|| {
                let linked = header(headers, "x-linked-etag");
                let own = || header(headers, "etag").filter(|_| status.is_success());
                linked.or_else(own).map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
            });
            size = size.or_else(|| {
                let linked = header(headers, "x-linked-size");
                let own = || header(headers, "content-length").filter(|_| status.is_success());
                linked.or_else(own).and_then(|size| size.parse().ok())
            });
            if let (Some(commit), Some(etag), Some(size)) = (&commit, &etag, size) {
                // Both become names in the cache.
                if !name::is_word(commit) || !name::is_word(etag) {
                    return Err(Failure::fatal(Error::format(format!(
                        "{url}: the server calls the commit \"{commit}\" and the content \"{etag}\"; \
                         neither may hold more than letters, digits, \"-\", \"_\" and \".\""
                    ))));
                }
                return Ok(Some(Found { commit: commit.clone(), etag: etag.clone(), size }));
            }
            if status.is_success() {
                break;
            }
            url = redirected(&url, headers)?;
        }
        let lacks = [
            ("X-Repo-Commit", commit.is_none()),
            ("ETag", etag.is_none()),
            ("Content-Length", size.is_none()),
        ];
        let lacks: Vec<_> = lacks.iter().filter(|(_, lacks)| *lacks).map(|(name, _)| *name).collect();
        Err(Failure::fatal(Error::format(format!(
            "{url}: the answer lacks {}; is {} a Hub?",
            lacks.join(" and "),
            self.endpoint
        ))))
    }

    /// A file's bytes in `range` (the header's value), or all of them where the server does not know ranges: see
    /// the status.
    pub(super) fn open(
        &self,
        repo: &str,
        commit: &str,
        name: &str,
        range: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut url = self.address(repo, commit, name);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(&url, range, false)?;
            let status = response.status();
            if status.is_redirection() {
                url = redirected(&url, response.headers())?;
                continue;
            }
            if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Ok(response);
            }
            return Err(self.refusal(&response, repo, commit, name));
        }
        Err(Failure::fatal(io(format!("{url}: more than {MAX_REDIRECTS} redirects"))))
    }

    fn request(&self, url: &str, range: Option<&str>, head: bool) -> Result<Response<Body>, Failure> {
        let mut request = if head { self.agent.head(url) } else { self.agent.get(url) };
        // A compressed answer's length is not the file's.
        request = request.header("Accept-Encoding", "identity");
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        if let Some(token) = &self.token
            && origin(url) == origin(&self.endpoint)
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            let server = origin(url).unwrap_or_else(|| url.to_owned());
            let refused =
                matches!(&error, ureq::Error::Io(error) if error.kind() == IoKind::ConnectionRefused);
            let hint = match refused {
                true => ". No server answers there: check HF_ENDPOINT and the proxy settings",
                false => "",
            };
            let failure = Failure::broken(io(format!("{server} cannot be reached: {error}{hint}")));
            Failure { refused, ..failure }
        })
    }

    /// Waits before the next try, or gives up.
    pub(super) fn wait(&self, failed: u32, failure: Failure, on: OnProgress<'_>) -> Result<(), Failure> {
        if failed >= TRIES || failure.refused {
            return Err(failure);
        }
        let wait = failure.wait.unwrap_or(FIRST_WAIT * 2u32.pow(failed - 1)).min(MAX_WAIT);
        on(Progress::Note(format!("{}; trying again in {:.1} s", failure.error, wait.as_secs_f64())));
        std::thread::sleep(wait);
        Ok(())
    }

    /// What a status that is no success means, and what to do about it.
    fn refusal(&self, response: &Response<Body>, repo: &str, revision: &str, name: &str) -> Failure {
        let (status, headers) = (response.status(), response.headers());
        let (code, hub) = (header(headers, "x-error-code"), &self.endpoint);
        let said = header(headers, "x-error-message").map(|text| format!(" (it says: {text})"));
        let said = said.unwrap_or_default();
        let text = match (status.as_u16(), code) {
            (401 | 403, Some("GatedRepo")) | (403, _) => {
                let token = match self.token {
                    Some(_) => "and check that HF_TOKEN belongs to the account that did",
                    None => "and set HF_TOKEN to a token of that account",
                };
                format!("{repo} is gated: accept its terms at {hub}/{repo} {token}{said}")
            }
            (401, Some("RepoNotFound")) | (401, None) if self.token.is_none() => format!(
                "{hub} has no public model {repo}: check the name or, if it is private, set HF_TOKEN to a token \
                 that may read it"
            ),
            (401, _) => format!(
                "{hub} has no model {repo} for this token: check the name, and HF_TOKEN (or the token file){said}"
            ),
            (404, Some("RevisionNotFound")) => {
                format!(
                    "{repo} has no revision \"{revision}\": see {hub}/{repo}/commits/main for what it has"
                )
            }
            (404, Some("EntryNotFound")) => format!("{repo}@{revision} has no file {name}"),
            (404, Some("RepoNotFound")) => format!("{hub} has no model {repo}: check the name"),
            (404, _) => format!("{hub} has no {repo}/{name} at revision {revision}{said}"),
            (429, _) => format!("{hub} allows no more requests for now{said}"),
            (other, _) => format!("{hub} answered {other} for {repo}/{name}{said}"),
        };
        let unreachable = matches!(status.as_u16(), 408 | 429 | 500 | 502..=504);
        let wait = header(headers, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        Failure { error: io(text), unreachable, refused: false, wait: wait.filter(|_| unreachable) }
    }
}

/// `HF_TOKEN`, or the file that Hugging Face's login writes.
fn token() -> Option<String> {
    if let Some(token) = env("HF_TOKEN") {
        return Some(token);
    }
    if env("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) {
        return None;
    }
    let path = match env("HF_TOKEN_PATH") {
        Some(path) => path.into(),
        None => cache::home().ok()?.join("token"),
    };
    let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
    Some(token).filter(|token| !token.is_empty())
}

/// `scheme://host:port` of an address of the web.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    Some(format!("{scheme}://{}", uri.authority()?))
}

/// Where an answer points to.
fn redirected(url: &str, headers: &HeaderMap) -> Result<String, Failure> {
    let to = header(headers, "location").unwrap_or_default();
    let here = origin(url).unwrap_or_default();
    let next = match to {
        _ if to.starts_with('/') && !to.starts_with("//") => format!("{here}{to}"),
        _ => to.to_owned(),
    };
    let fault = match origin(&next) {
        None => "which is no address of the web",
        Some(there) if here.starts_with("https:") && there.starts_with("http:") => "which is not encrypted",
        Some(_) => return Ok(next),
    };
    Err(Failure::fatal(Error::format(format!("{url}: redirects to \"{to}\", {fault}"))))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
