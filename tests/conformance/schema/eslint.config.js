// graphql-eslint's rules for schemas, including those for Relay. Each disabled rule has its reason.
import { readFileSync } from 'node:fs'
import graphqlPlugin from '@graphql-eslint/eslint-plugin'

const schema = readFileSync(new URL('../../../schema.graphql', import.meta.url), 'utf8')

export default [
  {
    files: ['**/*.graphql'],
    plugins: { '@graphql-eslint': graphqlPlugin },
    languageOptions: {
      parser: graphqlPlugin.parser,
      parserOptions: { graphQLConfig: { schema } },
    },
    rules: {
      ...graphqlPlugin.configs['flat/schema-recommended'].rules,
      ...graphqlPlugin.configs['flat/schema-relay'].rules,
      '@graphql-eslint/require-description': [
        'error',
        {
          types: true,
          FieldDefinition: true,
          InputValueDefinition: true,
          EnumValueDefinition: true,
          DirectiveDefinition: true,
          // The arguments of `@cost` and `@requires` are described with the directives.
          ignoredSelectors: ['weight', 'scope'].map((name) => `[type=InputValueDefinition][name.value=${name}]`),
        },
      ],
      // Only types that `node` can fetch have an `id`; values, pages and results do not.
      '@graphql-eslint/strict-id-in-types': 'off',
      // `Product.productName` is the name of the CSV column and is part of the contract.
      '@graphql-eslint/no-typename-prefix': 'off',
      // Edges follow Relay, but short lists, such as the URLs of a row or the path of a field, have no pages.
      '@graphql-eslint/relay-edge-types': [
        'error',
        { withEdgeSuffix: true, shouldImplementNode: true, listTypeCanWrapOnlyEdgeType: false },
      ],
    },
  },
]
