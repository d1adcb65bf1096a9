{
	# lz4_dir: folder with lz4.c, or empty. install.mjs gives it.
	# opus_libs: how to link with libopus, or empty; opus_cflags goes with it.
	'variables': { 'lz4_dir%': '', 'opus_libs%': '', 'opus_cflags%': '' },
	'targets': [
		{
			'target_name': 'tsvm',
			'sources': [
				'src/addon.cc',
				'src/quic.cc',
				'src/lz.cc',
				'src/lz4_image.cc',
				'src/discard.cc',
				'src/hole.cc',
				'src/lock.cc',
				'src/opus.cc'
			],
			'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
			'defines': ['NAPI_VERSION=8', 'NAPI_CPP_EXCEPTIONS'],
			'cflags!': ['-fno-exceptions', '-O2'],
			'cflags_cc!': ['-fno-exceptions', '-std=gnu++17', '-std=gnu++20'],
			'cflags': ['-O3', '-fvisibility=hidden', '-Wall', '-Wextra'],
			'cflags_cc': ['-std=c++17'],
			'xcode_settings': {
				'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
				'CLANG_CXX_LANGUAGE_STANDARD': 'c++17',
				'GCC_OPTIMIZATION_LEVEL': '3'
			},
			'msvs_settings': {
				'VCCLCompilerTool': { 'ExceptionHandling': 1, 'AdditionalOptions': ['/std:c++17'] }
			},
			'conditions': [
				['lz4_dir!=""', {
					'defines': ['TSVM_LZ4'],
					'include_dirs': ['<(lz4_dir)'],
					'sources': ['src/lz4_code.c']
				}],
				['opus_libs!=""', {
					'defines': ['TSVM_OPUS'],
					'cflags': ['<@(opus_cflags)'],
					'libraries': ['<@(opus_libs)'],
					'xcode_settings': { 'OTHER_CFLAGS': ['<@(opus_cflags)'] }
				}]
			]
		}
	]
}
