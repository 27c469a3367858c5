//! Who holds a client certificate, by what it says.

use eg_event::Principal;
use eg_event::principal::Method;

use crate::Unauthenticated;
use crate::config::{CertificateName, CertificatesConfig};
use crate::name::is_name;
use crate::peer::ClientCertificate;

/// Whom `certificate` names.
pub(crate) fn principal(
    certificate: &ClientCertificate,
    config: &CertificatesConfig,
) -> Result<Principal, Unauthenticated> {
    let names = config.names.iter().filter_map(|place| name(certificate, *place));
    let Some(name) = names.into_iter().find(|name| is_name(name)) else {
        let why = "the certificate has no name where one is looked for";
        return Err(Unauthenticated::Invalid(why.to_owned()));
    };
    #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
    let principal = Principal::vouch_for(name, Method::Certificate, Some(certificate.not_after))
        .with_roles(roles(certificate, config, name))
        .with_claims(claims(certificate))
        .resting_on(certificate.credential_id());
    Ok(match certificate.common_name.as_deref().filter(|name| is_name(name)) {
        Some(application) => principal.for_application(application),
        None => principal,
    })
}

fn name(certificate: &ClientCertificate, place: CertificateName) -> Option<&str> {
    match place {
        CertificateName::Cn => certificate.common_name.as_deref(),
        CertificateName::SanUri => certificate.uris.first().map(String::as_str),
        CertificateName::SanDns => certificate.dns_names.first().map(String::as_str),
        CertificateName::SanEmail => certificate.emails.first().map(String::as_str),
        CertificateName::Subject => Some(&certificate.subject),
    }
}

fn roles(
    certificate: &ClientCertificate,
    config: &CertificatesConfig,
    principal: &str,
) -> impl Iterator<Item = String> {
    let holds = move |selector: &str| {
        let Some((kind, name)) = selector.split_once(':') else { return false };
        let among = |names: &[String]| names.iter().any(|one| one == name);
        match kind {
            "cn" => certificate.common_name.as_deref() == Some(name),
            "o" => among(&certificate.organizations),
            "ou" => among(&certificate.organizational_units),
            "name" => principal == name,
            _ => false,
        }
    };
    let given = config.roles.iter().filter(move |(selector, _)| holds(selector));
    given.flat_map(|(_, roles)| roles.iter().cloned())
}

fn claims(certificate: &ClientCertificate) -> Vec<(String, String)> {
    let several = [("o", &certificate.organizations), ("ou", &certificate.organizational_units)];
    let several = several.into_iter().filter(|(_, names)| !names.is_empty());
    let mut claims: Vec<_> =
        several.map(|(claim, names)| (claim.to_owned(), names.join(" "))).collect();
    if let Some(name) = &certificate.common_name {
        claims.push(("cn".to_owned(), name.clone()));
    }
    claims.push(("serial".to_owned(), certificate.serial.clone()));
    claims.push(("thumbprint".to_owned(), certificate.thumbprint.to_string()));
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate() -> ClientCertificate {
        let mut params = CertificateParams::new(["press.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "plant");
        params.distinguished_name.push(DnType::OrganizationName, "Works");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "ops");
        params.subject_alt_names.push(SanType::URI("urn:press:1".try_into().unwrap()));
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::parse(signed.der()).unwrap()
    }

    fn config(names: &[CertificateName]) -> CertificatesConfig {
        CertificatesConfig { names: names.to_vec(), ..CertificatesConfig::default() }
    }

    #[test]
    fn the_name_stands_in_the_first_configured_place_that_has_one() {
        use CertificateName::{Cn, SanDns, SanEmail, SanUri, Subject};
        let certificate = certificate();
        let rows = [
            (&[Cn, SanUri][..], "plant"),
            (&[SanEmail, SanUri], "urn:press:1"),
            (&[SanDns], "press.example"),
            (&[Subject], certificate.subject.as_str()),
        ];
        for (places, expected) in rows {
            assert_eq!(principal(&certificate, &config(places)).unwrap().name(), expected);
        }
        let refused = principal(&certificate, &config(&[SanEmail]));
        assert!(matches!(refused, Err(Unauthenticated::Invalid(_))));
    }

    #[test]
    fn it_acts_for_its_common_name_with_the_roles_that_are_mapped() {
        let certificate = certificate();
        let roles = [
            ("ou:ops", "operator"),
            ("o:Other", "admin"),
            ("name:urn:press:1", "device"),
            ("cn:plant", "viewer"),
        ];
        let roles = roles.map(|(key, role)| (key.to_owned(), [role.to_owned()].into()));
        let config =
            CertificatesConfig { roles: roles.into(), ..config(&[CertificateName::SanUri]) };
        let principal = principal(&certificate, &config).unwrap();
        assert_eq!(principal.application(), Some("plant"));
        assert_eq!(principal.roles().iter().collect::<Vec<_>>(), ["device", "operator", "viewer"]);
        assert_eq!(principal.expires_at(), Some(certificate.not_after));
        assert_eq!(principal.credential(), Some(&certificate.credential_id()));
        assert_eq!(principal.claims()["thumbprint"], certificate.thumbprint.to_string());
        assert_eq!(principal.claims()["ou"], "ops");
    }

    #[test]
    fn a_name_that_would_steer_a_log_is_none() {
        let mut certificate = certificate();
        certificate.common_name = Some("plant\nadmin logged in".to_owned());
        let config = config(&[CertificateName::Cn, CertificateName::SanUri]);
        let principal = principal(&certificate, &config).unwrap();
        assert_eq!((principal.name(), principal.application()), ("urn:press:1", None));
    }
}
