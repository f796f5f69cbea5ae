//! The check of the `[input]` table: every path is looked at before any work starts, and all
//! problems are reported together.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use curate_pipeline::suggest::closest;

use super::{
    InputConfig, Problem, SourceConfigError, files,
    glob::{Glob, is_glob},
    manifest::{self, Manifest},
    uri::{Reference, reference},
};

/// One path of the configuration, checked.
pub(super) enum Root {
    Path(PathBuf),
    Glob(Glob),
    Manifest(Manifest),
}

/// Checks the whole table.
pub(super) fn check(
    config: &InputConfig,
    base: &Path,
    output: &Path,
) -> Result<Vec<Root>, Vec<SourceConfigError>> {
    let mut errors = Vec::new();
    let mut report = |key: &str, problem| {
        errors.push(SourceConfigError { key: format!("input.{key}"), problem });
    };
    if config.paths.is_empty() {
        report("paths", Problem::NoPaths);
    }
    match &config.extensions {
        Some(extensions) if extensions.is_empty() => {
            report("extensions", Problem::Extension("[]".to_owned()));
        }
        Some(extensions) => {
            for bad in extensions.iter().filter(|text| !is_extension(text)) {
                report("extensions", Problem::Extension(bad.clone()));
            }
        }
        None => {}
    }
    let rows_base = config.base.as_ref().map(|folder| base.join(folder));
    if let Some(folder) = rows_base.clone().filter(|folder| !folder.is_dir()) {
        report("base", Problem::NotAFolder(folder));
    }
    let check = Check { config, base, output, rows_base: rows_base.as_deref() };
    let mut roots = Vec::new();
    for (index, text) in config.paths.iter().enumerate() {
        if let Err(problem) = check.path(text, &mut roots) {
            report(&format!("paths[{index}]"), problem);
        }
    }
    // A file is a source once, and what a manifest says of it is not to be lost to a folder that has it too.
    roots.sort_by_key(|root| !matches!(root, Root::Manifest(_)));
    if errors.is_empty() { Ok(roots) } else { Err(errors) }
}

fn is_extension(text: &str) -> bool {
    let plain = text.strip_prefix('.').unwrap_or(text);
    !plain.is_empty() && !plain.contains(['/', '.', '*', ' '])
}

struct Check<'a> {
    config: &'a InputConfig,
    base: &'a Path,
    output: &'a Path,
    rows_base: Option<&'a Path>,
}

impl Check<'_> {
    fn path(&self, text: &str, roots: &mut Vec<Root>) -> Result<(), Problem> {
        if text.trim().is_empty() {
            return Err(Problem::Empty);
        }
        let path = match reference(text.into()) {
            Reference::Local(path) => self.base.join(path),
            Reference::Remote => return Err(Problem::Remote(text.to_owned())),
        };
        match fs::symlink_metadata(&path) {
            // A file may have a name that reads like a pattern: the file comes first.
            Ok(_) => roots.push(self.existing(path)?),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Problem::Unreadable { path, error });
            }
            Err(_) if is_glob(text) => self.glob(text, roots)?,
            Err(_) => return Err(Problem::Missing { hint: hint(text, &path), looked_at: path }),
        }
        Ok(())
    }

    fn existing(&self, path: PathBuf) -> Result<Root, Problem> {
        let canonical = fs::canonicalize(&path).map_err(|error| match path.read_link() {
            Ok(target) if error.kind() == io::ErrorKind::NotFound => Problem::Missing {
                hint: format!(
                    "; it is the target of a link, `{}`: restore it or remove the link",
                    path.display()
                ),
                looked_at: path.parent().map_or(target.clone(), |parent| parent.join(&target)),
            },
            _ => Problem::Unreadable { path: path.clone(), error },
        })?;
        if canonical.is_file()
            && let Some(extension) = files::extension(&path)
        {
            if extension == "json" {
                return Err(Problem::ManifestForm(path));
            }
            if manifest::EXTENSIONS.contains(&extension.as_str()) {
                return Manifest::open(&path, &extension, self.config, self.rows_base)
                    .map(Root::Manifest)
                    .map_err(|error| Problem::Manifest { path, error });
            }
        }
        if canonical.starts_with(self.output) {
            return Err(Problem::InsideOutput { path, output: self.output.to_owned() });
        }
        Ok(Root::Path(path))
    }

    fn glob(&self, pattern: &str, roots: &mut Vec<Root>) -> Result<(), Problem> {
        let glob = Glob::parse(pattern, self.base)
            .map_err(|error| Problem::Pattern { pattern: pattern.to_owned(), error })?;
        let manifests = files::extension(Path::new(pattern))
            .is_some_and(|extension| manifest::EXTENSIONS.contains(&extension.as_str()));
        let mut walk = glob.clone();
        if manifests {
            let mut any = false;
            while let Some(found) = walk.next() {
                any = true;
                if let Ok(path) = found {
                    roots.push(self.existing(path)?);
                }
            }
            if any {
                return Ok(());
            }
        } else if walk.next().is_some() {
            roots.push(Root::Glob(glob));
            return Ok(());
        }
        let hint = if pattern.contains('{') {
            "; braces are not expanded: write one pattern for each".to_owned()
        } else {
            String::new()
        };
        Err(Problem::NoMatch { pattern: pattern.to_owned(), hint })
    }
}

/// What may have been meant by a path where nothing is.
fn hint(text: &str, path: &Path) -> String {
    if text.starts_with('~') {
        return "; `~` is not expanded: write the whole path".to_owned();
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return String::new();
    };
    let (children, _) = files::children(folder);
    let names = children.iter().filter_map(|(name, _)| name.to_str());
    closest(name, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
