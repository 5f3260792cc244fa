// One tab for each thing there is to do.

export interface Tab {
  query: string;
  variables?: string;
}

export const subscription = /* GraphQL */ `# The request now and at every change.
# It ends with the final status.
subscription Progress($id: ID!) {
  requestProgress(id: $id) {
    sequence
    status
    progressPercent
    processedImages
    failedImages
    totalImages
    imagesPerSecond
    estimatedCompletionAt
    inputBytes
    outputBytes
    outputCsvUrl
  }
}
`;

const requests = /* GraphQL */ `# All requests, newest first.
query Requests {
  requests(first: 10) {
    totalCount
    edges {
      cursor
      node {
        id
        csvFilename
        status
        progressPercent
        createdAt
        outputCsvUrl
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`;

const request = /* GraphQL */ `# A request, its products, their pictures.
query Request($id: ID!) {
  request(id: $id) {
    csvFilename
    status
    inputBytes
    outputBytes
    products(first: 10) {
      totalCount
      edges {
        node {
          serialNumber
          productName
          status
          images {
            inputUrl
            outputUrl
            outcome
            inputBytes
            outputBytes
            error {
              code
              message
            }
          }
        }
      }
    }
  }
}
`;

const changes = /* GraphQL */ `# The play button asks which to run.
mutation Retry($id: ID!) {
  retryFailedImages(input: { id: $id }) {
    __typename
    ... on RetryFailedImagesSuccess {
      request {
        status
      }
    }
    ... on UserError {
      message
    }
  }
}

mutation Cancel($id: ID!) {
  cancelRequest(input: { id: $id }) {
    __typename
    ... on CancelRequestSuccess {
      request {
        status
      }
    }
    ... on UserError {
      message
    }
  }
}

mutation ResendWebhook($id: ID!) {
  resendWebhook(input: { id: $id }) {
    __typename
    ... on UserError {
      message
    }
  }
}

mutation Delete($id: ID!) {
  deleteRequest(input: { id: $id }) {
    __typename
    ... on DeleteRequestSuccess {
      deletedId
    }
    ... on UserError {
      message
    }
  }
}
`;

export const uploadText = /* GraphQL */ `mutation Upload($input: UploadCsvInput!) {
  uploadCsv(input: $input) {
    __typename
    ... on UploadCsvSuccess {
      request {
        id
        status
        totalProducts
        totalImages
      }
    }
    ... on UserError {
      message
      path
    }
    ... on CsvInvalid {
      totalErrors
      errors {
        row
        column
        code
        message
      }
    }
  }
}
`;

export const variablesFor = (id: string): string => JSON.stringify({ id }, null, 2);

export function tabs(id: string): Tab[] {
  const variables = variablesFor(id);
  return [{ query: requests }, { query: request, variables }, { query: subscription, variables }, { query: changes, variables }];
}
