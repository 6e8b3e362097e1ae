"""The artifact store on Azure Blob Storage."""
