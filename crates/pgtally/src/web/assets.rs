//! The few files that pages load, part of the program. `assets/vendored.toml` says which are others' work.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Name, type and bytes of each.
const ASSETS: [(&str, &str, &[u8]); 6] = [
    ("app.css", "text/css; charset=utf-8", include_bytes!("../../assets/app.css")),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/app.js")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/htmx.min.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
    ("uplot.min.css", "text/css; charset=utf-8", include_bytes!("../../assets/uplot.min.css")),
    ("uplot.min.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/uplot.min.js")),
];

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, content_type, bytes)) => {
            ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], *bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ring::digest::{SHA256, digest};

    #[test]
    fn vendored_files_are_what_the_manifest_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let manifest = std::fs::read_to_string(folder.join("vendored.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let mut files = 0;
        for package in manifest["package"].as_array().unwrap() {
            for text in ["name", "version", "licence"] {
                assert!(package[text].as_str().is_some_and(|text| !text.is_empty()), "{package:?}");
            }
            for file in package["files"].as_array().unwrap() {
                let bytes = std::fs::read(folder.join(file["file"].as_str().unwrap())).unwrap();
                let hash: String =
                    digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(hash, file["sha256"].as_str().unwrap(), "{file:?}");
                files += 1;
            }
        }
        assert_eq!(files, 5);
    }
}
