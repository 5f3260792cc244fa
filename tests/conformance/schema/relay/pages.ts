// The operations of a Relay application. The compiler checks them against the schema, with connections and `node`.
graphql`
  query pagesRequestsQuery($count: Int!, $cursor: String, $status: RequestStatus) {
    ...pages_requests @arguments(count: $count, cursor: $cursor, status: $status)
  }
`

graphql`
  fragment pages_requests on Query
  @refetchable(queryName: "pagesRequestsPaginationQuery")
  @argumentDefinitions(
    count: { type: "Int", defaultValue: 20 }
    cursor: { type: "String" }
    status: { type: "RequestStatus" }
  ) {
    requests(first: $count, after: $cursor, status: $status) @connection(key: "pages_requests") {
      edges {
        node {
          ...pages_request
        }
      }
    }
  }
`

graphql`
  fragment pages_request on Request {
    status
    csvFilename
    webhook {
      status
    }
  }
`

// Both directions, refetched by identifier.
graphql`
  fragment pages_products on Request
  @refetchable(queryName: "pagesProductsPaginationQuery")
  @argumentDefinitions(
    first: { type: "Int" }
    after: { type: "String" }
    last: { type: "Int" }
    before: { type: "String" }
  ) {
    products(first: $first, after: $after, last: $last, before: $before) @connection(key: "pages_products") {
      edges {
        node {
          ...pages_product
        }
      }
    }
  }
`

graphql`
  fragment pages_product on Product @refetchable(queryName: "pagesProductRefetchQuery") {
    productName
    images {
      ...pages_image
    }
  }
`

graphql`
  fragment pages_image on Image @refetchable(queryName: "pagesImageRefetchQuery") {
    status
    outputUrl
  }
`

graphql`
  mutation pagesCancelMutation($input: CancelRequestInput!) {
    cancelRequest(input: $input) {
      __typename
      ... on CancelRequestSuccess {
        request {
          ...pages_request
        }
      }
      ... on UserError {
        message
        path
      }
    }
  }
`

graphql`
  subscription pagesProgressSubscription($id: ID!) {
    requestProgress(id: $id) {
      ...pages_request
    }
  }
`
