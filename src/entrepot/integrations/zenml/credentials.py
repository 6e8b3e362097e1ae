"""From ZenML's secrets and service connectors to the keys of our flavors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zenml.secret.schemas import AWSSecretSchema, AzureSecretSchema, GCPSecretSchema

from entrepot.errors import CredentialsMissing

if TYPE_CHECKING:
    from entrepot.integrations.zenml.stores import AzureStore, GcpStore, S3Store


def of_aws(store: S3Store) -> dict[str, Any]:
    """The connector's, else the secret's, else those of the configuration, whose references ZenML resolves.

    Requests: what ZenML's connector makes to get a session.
    """
    if (connector := store.get_connector()) is not None:
        return of_aws_client(connector.connect())
    secret = store.get_typed_authentication_secret(expected_schema_type=AWSSecretSchema)
    if secret is not None:
        return _given(key=secret.aws_access_key_id, secret=secret.aws_secret_access_key, token=secret.aws_session_token)
    config: Any = store.config
    return _given(key=config.key, secret=config.secret, token=config.token)


def of_aws_client(client: Any) -> dict[str, Any]:
    """What a client of boto3's that a connector made signs with, and where."""
    found = client.credentials.get_frozen_credentials()
    return _given(key=found.access_key, secret=found.secret_key, token=found.token, region=client.meta.region_name)


class GoogleToken:
    """The access token of credentials of google-auth, which its connector refreshes no more once it has given them."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def has_expired(self) -> bool:
        """Whether it is, or is about to be, refused."""
        return not self._credentials.valid

    def text(self) -> str:
        """The token, refreshed where it has expired. Requests: 1 then."""
        if self.has_expired():
            from google.auth.transport.requests import Request

            self._credentials.refresh(Request())
        token: str = self._credentials.token
        return token


def of_google(store: GcpStore) -> tuple[dict[str, Any], GoogleToken | None]:
    """The connector's token, which ends, else the secret's account. Requests: what ZenML's connector makes."""
    if (connector := store.get_connector()) is not None:
        token = GoogleToken(connector.connect()._credentials)  # as ZenML's own GCP store takes them
        return {"access_token": token.text()}, token
    secret = store.get_typed_authentication_secret(expected_schema_type=GCPSecretSchema)
    return _given(token=secret.token if secret is not None else None), None


def of_azure(store: AzureStore) -> dict[str, Any]:
    """The connector's service principal, else what the secret holds. Requests: what ZenML's connector makes."""
    if (connector := store.get_connector()) is not None:
        return of_azure_client(connector.connect())
    secret = store.get_typed_authentication_secret(expected_schema_type=AzureSecretSchema)
    return _given(**secret.get_values()) if secret is not None else {}


def of_azure_client(client: Any) -> dict[str, Any]:
    """Whom a client of azure-storage-blob that a connector made signs in as.

    Raises: CredentialsMissing for a connector that has only a token, which nothing could renew.
    """
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    credential = client.credential
    if isinstance(credential, DefaultAzureCredential):
        return _given(account_name=client.account_name)
    if isinstance(credential, ClientSecretCredential):
        # Named nowhere else; ZenML's own Azure store takes them from here as well.
        inner: Any = credential
        return _given(
            account_name=client.account_name,
            client_id=inner._client_id,
            client_secret=inner._client_credential,
            tenant_id=inner._tenant_id,
        )
    raise CredentialsMissing("the connector must be one for a service principal, or for implicit authentication")


def _given(**keys: Any) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}
